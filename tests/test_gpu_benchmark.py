"""The GPU benchmark in small, on the CPU: every row runs, one that fails does not end the others."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch

from benchmarks import random_backbone
from benchmarks.gpu import SECTIONS, benchmark, in_process, line_of, measured_hours, parser, run_section
from benchmarks.gpu_rows import FAILED, MEASURED, NO_MEMORY, Repetitions, Result, Row, measure
from ca_seg.backbones.cost.gpus import GPUS
from ca_seg.backbones.cost.operations import Operations
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.plan import read_part

FAR = 10.0**9  # a deadline


def options(*arguments):
    return parser().parse_args(["--device", "cpu", "--small", "--minutes", "60", *arguments])


@pytest.fixture
def _fresh_compiler():
    """torch keeps what it compiled for a class, and gives up after eight times in a process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_compiler")
def test_every_row_is_measured_on_small_models(tmp_path):
    """All sections but the one that labels with Ray, which tests/cli/test_label_ray.py runs."""
    names, file = [section.name for section in SECTIONS if section.variant != "label"], tmp_path / "gpu.json"
    benchmark(options("--sections", *names, "--json", str(file)))
    rows = json.loads(file.read_text())["rows"]
    assert {row["section"] for row in rows} == set(names)
    assert [row for row in rows if row["status"] != MEASURED] == []
    for row in rows:
        assert row["seconds"] > 0
        assert row["tflop"] > 0
        assert row["images_per_second"] == pytest.approx(row["images"] / row["seconds"])
    flux = {row["row"]: row for row in rows if row["section"] == "flux1-dev bf16"}
    assert {"stock forward", "ask 1000 words", "concepts carried along", "concepts carried along, stopped"} <= set(flux)
    assert flux["concepts carried along"]["tflop"] > flux["stock forward"]["tflop"]
    assert flux["maps, batch 2"]["tflop"] == pytest.approx(2 * flux["maps, batch 1"]["tflop"])


@pytest.mark.slow
def test_a_section_in_a_process_of_its_own_gives_the_same_rows():
    index = [section.name for section in SECTIONS].index("sd3.5-large bf16")
    together: dict[str, Result] = {}
    run_section(SECTIONS[index], "cpu", True, FAR, lambda result: together.update({result.row: result}))
    separate = {result.row: result for result in in_process(index, options(), 600)}
    keys = ("section", "row", "status", "images", "tflop", "gbyte")
    plain = [[[getattr(row, key) for key in keys] for row in rows.values()] for rows in (together, separate)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("variant", ["bf16", "fp8", "nf4"])
def test_a_real_architecture_is_filled_with_random_weights(monkeypatch, variant):
    """FLUX.1's card with fewer and narrower blocks, and its autoencoder with fewer channels."""
    card = find_card("flux1-dev")
    narrow = {"num_layers": 3, "num_single_layers": 2, "num_attention_heads": 2, "joint_attention_dim": 64}
    small = replace(card, architecture=card.architecture | narrow, layers=(1,), resolution=64, text_tokens=8)
    part = read_part(card.parts["vae"])
    part["config"]["block_out_channels"] = [32, 32, 32, 32]
    monkeypatch.setattr(random_backbone, "find_card", lambda name: small)
    monkeypatch.setattr(random_backbone, "read_part", lambda name: part)
    backbone = random_backbone.real_backbone("flux1-dev", variant, "cpu", all_blocks=False)
    assert backbone.layers == 2
    assert backbone.dtype == torch.bfloat16
    weight = backbone.transformer.transformer_blocks[0].attn.to_q.weight
    assert type(weight).__name__ == {"bf16": "Parameter", "fp8": "Float8Tensor", "nf4": "Params4bit"}[variant]
    maps = backbone.maps(torch.rand(1, 3, 64, 64), ["cat", "grass"])
    assert maps.isfinite().all()
    assert not any(tensor.is_meta for tensor in backbone.state_dict().values())


def one_row(run, **options):
    return measure(Row("a row", run, Operations(10**12, 10**9, 10**9), images=4), "section", "cpu", **options)


def test_a_row_that_fails_is_reported_with_its_arithmetic():
    def no_memory(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    result = one_row(no_memory, gpu=None, dtype=torch.bfloat16, deadline=FAR)
    assert (result.status, result.reason) == (NO_MEMORY, "CUDA out of memory. Tried to allocate 2 GiB")
    assert (result.tflop, result.gbyte, result.seconds) == (1, 2, None)
    result = one_row(lambda _: 1 / 0, gpu=None, dtype=torch.bfloat16, deadline=FAR)
    assert result.status == FAILED
    assert "ZeroDivisionError" in line_of(result)


def test_a_row_that_would_run_over_is_not_started():
    gpu, started = GPUS["A100"], []
    slow = Row("a row", started.append, Operations(312 * 10**12))  # a second at the peak
    result = measure(slow, "section", "cpu", gpu, torch.bfloat16, time.monotonic() + 5)
    assert not started
    assert result.status == "computed"
    assert result.reason
    result = measure(slow, "section", "cpu", gpu, torch.bfloat16, time.monotonic() + 60)
    assert result.status == MEASURED
    assert len(started) == 11


def test_a_row_whose_warm_up_takes_all_the_time_is_not_measured():
    result = one_row(
        lambda _: time.sleep(0.05),
        gpu=None,
        dtype=torch.bfloat16,
        deadline=time.monotonic() + 0.08,
        repetitions=Repetitions(warmups=3),
    )
    assert (result.status, result.seconds) == ("computed", None)
    assert result.reason


def test_shares_and_hours_follow_from_the_times():
    gpu = GPUS["A100"]
    result = one_row(lambda _: time.sleep(0.02), gpu=gpu, dtype=torch.bfloat16, deadline=FAR)
    assert result.share_of_peak == pytest.approx(10**12 / result.seconds / (312 * 10**12))
    assert result.share_of_bandwidth == pytest.approx(2 * 10**9 / result.seconds / (2.039 * 10**12))
    assert result.images_per_second == pytest.approx(4 / result.seconds)
    label = Result("flux1-dev label", "label files, Lightning", MEASURED, seconds=0.36)
    [hours] = measured_hours([label, result])
    assert hours["gpu_hours"] == pytest.approx(100)
    assert hours["hours_on_8_gpus"] == pytest.approx(12.5)
