"""Every card agrees with the published architecture, and with what the loader would read."""

from __future__ import annotations

import re

import pytest
import yaml

from ca_seg.backbones.families.base import SkippedBlock
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.card import find_card, list_backbones
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.loading.plan import part_names, part_parameters, plan

PUBLISHED = [name for name in list_backbones() if not find_card(name).folder]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_architecture_has_the_cards_parameters_and_layers(name):
    card = find_card(name)
    family = find_family(card.family)
    whole = build(family, card.architecture, tables=False)
    assert sum(p.numel() for p in whole.parameters()) == card.parameters
    assert all(p.is_meta for p in whole.parameters())
    assert set(card.architecture) <= set(whole.config)
    assert max(card.layers) < len(family.blocks(whole))
    assert list(card.layers) == sorted(set(card.layers))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_lean_loader_reads_names_and_shapes_of_the_real_state_dict_without_later_blocks(name):
    card = find_card(name)
    family = find_family(card.family)
    whole = {n: t.shape for n, t in build(family, card.architecture, tables=False).state_dict().items()}
    lean = build(family, card.architecture, max(card.layers) + 1, tables=False)
    wanted = {n: t.shape for n, t in lean.state_dict().items()}
    assert wanted.items() <= whole.items()
    absent = [n for n, m in lean.named_modules() if isinstance(m, SkippedBlock)]
    assert {n for n in whole if n not in wanted} == {n for n in whole if any(n.startswith(f"{a}.") for a in absent)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_names_the_source_of_its_weights(name):
    card = find_card(name)
    assert card.name == name
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", card.hub)
    pinned = re.fullmatch(r"[0-9a-f]{40}", card.revision)
    assert pinned or (card.revision == "main" and "not pinned" in card.limits)
    assert card.licence
    assert set(card.parts.values()) <= set(part_names())
    assert "vae" in card.parts
    assert any(folder.startswith("text_encoder") for folder in card.parts)


@pytest.mark.parametrize("part", part_names())
def test_a_part_has_the_parameters_stated_in_its_file(part):
    assert part_parameters(part) == part_parameters(part, count=True)


def test_every_part_belongs_to_a_card():
    used = {part for name in PUBLISHED for part in find_card(name).parts.values()}
    assert used == set(part_names())


def test_the_plan_of_flux_has_the_published_parameter_counts():
    """19 double blocks are 6.45 of 11.9 billion parameters; layers 0 to 17 need 18 of them."""
    whole, lean = (plan("flux1-schnell", last_layer=last) for last in (18, 17))
    assert whole.transformer == pytest.approx(6.45e9, rel=0.01)
    assert lean.transformer < whole.transformer < find_card("flux1-schnell").parameters


def test_a_card_with_an_unknown_key_is_named(tmp_path):
    from ca_seg.backbones.loading.card import Card
    from ca_seg.errors import UnknownName

    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({"name": "x", "layer": [1]}))
    with pytest.raises(UnknownName, match="layers"):
        Card.read(file)
