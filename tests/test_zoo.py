"""The zoo as text: each card is in it, MODEL_ZOO.md agrees with the cards, and the sums of a plan are right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ca_seg.backbones.cost.cost import map_cost
from ca_seg.backbones.loading.card import find_card, list_backbones
from ca_seg.backbones.loading.plan import GIB, plan, prompt_attention_bytes
from ca_seg.cli.zoo import run
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.zoo import model_zoo, print_card, print_plan, print_zoo
from tests.small_flux import small_backbone

ROOT = Path(__file__).parents[1]


def _printed(function, *arguments):
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    function(*arguments, console)
    return console.export_text()


def test_the_page_agrees_with_the_cards():
    assert (ROOT / "MODEL_ZOO.md").read_text(encoding="utf-8") == model_zoo(), "run `ca-seg zoo page`"


def test_each_card_is_listed_and_shown():
    listed, page = _printed(print_zoo), model_zoo()
    for name in list_backbones():
        assert name in listed
        assert f"`{name}`" in page
        assert find_card(name).licence in _printed(print_card, name)


def test_memory_saved_by_quantisation():
    """FLUX.1's blocks are almost entirely linear layers: NF4 needs 0.5625 bytes per parameter, bfloat16 needs 2."""
    full, small = plan("flux1-dev"), plan("flux1-dev", precision="bnb-nf4")
    assert small.transformer_bytes / full.transformer_bytes == pytest.approx(0.5625 / 2, rel=0.01)
    assert small.transformer == full.transformer
    assert full.transformer_bytes == 2 * full.transformer
    assert full.recording_bytes == (2 * 18 + 4) * 64 * 64 * 3072 * 2
    assert full.known_words_bytes == 4 * 64 * 64 * 3072 * 2
    assert full.peak_bytes == full.transformer_bytes + full.autoencoder_bytes + full.recording_bytes
    printed = _printed(print_plan, full)
    assert f"{full.peak_bytes / GIB:.1f}" in printed
    assert "not measured" in printed


def test_the_plan_of_the_attention_to_a_prompt_is_what_a_recording_holds():
    backbone, words = small_backbone(), ["cat", "grass", "sky"]
    prompt = backbone.record(
        torch.rand(1, 3, 48, 80), layers=[1], prompt=", ".join(words), prompt_phrases=[words]
    ).prompt
    held = sum(part.untyped_storage().nbytes() for part in (*prompt.words, *prompt.image_share))
    heads = backbone.transformer.config.num_attention_heads
    assert prompt_attention_bytes(15, len(words), heads=heads, layers=2) == held
    assert plan("flux1-dev").prompt_attention_bytes(20) == 4 * 18 * 24 * 64 * 64 * 21


def test_a_plan_depends_on_layer_and_resolution():
    assert plan("sd3.5-large", last_layer=5).transformer < plan("sd3.5-large").transformer
    assert plan("sd3.5-large", resolution=512).recording_bytes * 4 == plan("sd3.5-large").recording_bytes


def test_plans_that_cannot_be_computed_are_refused():
    with pytest.raises(UnknownName, match="flux1-dev"):
        plan("flux1-de")
    with pytest.raises(UnknownName, match="bnb-nf4"):
        plan("flux1-dev", precision="bnb-nf")
    with pytest.raises(OutOfRange, match=r"57.*0 to 56"):
        plan("flux1-dev", last_layer=57)
    with pytest.raises(OutOfRange, match=r"\b8\b.*\b16\b"):
        plan("flux1-dev", resolution=8)
    with pytest.raises(UserError, match="mini"):
        plan("mini")


def test_listing_and_showing_need_neither_torch_nor_diffusers():
    code = (
        "import sys; from ca_seg.cli.zoo import run; run(['list']); run(['show', 'mini']); "
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_names_are_listed_by_pattern():
    assert list_backbones("sd3.5-large*") == ["sd3.5-large", "sd3.5-large-turbo"]
    assert list_backbones("nothing*") == []
    assert {"mini", "z-image-turbo"} <= set(list_backbones())


def test_the_command_shows_plans_and_writes_the_page(capsys, tmp_path):
    assert run(["show", "flux1-dev"]) == 0
    assert "black-forest-labs/FLUX.1-dev" in capsys.readouterr().out
    assert run(["plan", "flux1-dev", "--precision", "bnb-nf4", "--last-layer", "3", "--resolution", "512"]) == 0
    printed = capsys.readouterr().out
    assert "bnb-nf4" in printed
    assert re.search(r"\b0 to 3\b", printed)
    assert run(["page", "--out", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == model_zoo()


def test_the_cost_is_printed_in_a_table_and_bounds_the_hours(capsys):
    assert run(["plan", "flux2-klein-4b", "--resolution", "256", "--cost", "--words", "3"]) == 0
    printed = capsys.readouterr().out
    cost = map_cost("flux2-klein-4b", resolution=256)
    asked = re.search(r"ask 3 words +(\S+) +(\S+)", printed)
    assert asked is not None
    assert float(asked[1]) == round(cost.ask(3).flops / 1e12, 3)
    assert float(asked[2]) == round(cost.ask(3).bytes / 1e9, 2)
    row = re.search(r"A100 +312.0 +2.04 +(\S+) +(\S+)", printed)
    assert row is not None
    least = max(cost.maps(3).flops / 312e12, cost.maps(3).bytes / 2.039e12)
    assert float(row[1]) == round(1000 * least, 1)
    assert float(row[2]) == round(1e6 * least / 3600, 1)
