"""The cost of passes: against torch's own counter on real small models, and by hand for FLUX.1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ca_seg.backbones.ask_pass import AskPass
from ca_seg.backbones.cost.cost import MetaPasses, map_cost
from ca_seg.backbones.cost.gpus import GPUS, gpu_of_driver
from ca_seg.backbones.cost.operations import OperationCounter, Operations
from ca_seg.backbones.families.registry import FAMILIES, find_family
from ca_seg.backbones.loading.card import find_card, list_backbones
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.loading.profiles import find_profile
from ca_seg.backbones.record_pass import RecordPass
from ca_seg.concept.ask import Layout
from ca_seg.concept.linears import Modulation
from ca_seg.errors import OutOfRange, UserError
from tests.small_models import random_latents, random_text, small_transformer

WORDS, PROMPT = 5, 7
FP32 = find_profile("fp32")
# their shapes depend on the text; the positions of ERNIE-Image and Mochi need numbers
WITH_NUMBERS = ("hunyuan-image", "hunyuan-video-1.5", "lumina2", "ernie-image", "mochi")
COUNTED = [name for name in FAMILIES if name not in WITH_NUMBERS]


def torch_flops(run) -> int:
    """By torch's counter, which counts products of matrices; attention is one only where it is written out."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", COUNTED)
def test_operations_equal_those_that_torch_counts_on_a_real_model(name):
    family = find_family(name)
    model = small_transformer(family)
    backbone = next(card for card in map(find_card, list_backbones()) if card.family == name and card.architecture)
    card = replace(backbone, layers=(1,), text_tokens=PROMPT)
    latents = random_latents(family, 1)
    text, words = random_text(family, 1, PROMPT, 3), random_text(family, 1, WORDS, 4)
    inputs = family.inputs(model, latents, text, torch.tensor([0.5]), card.guidance)
    grid = family.grid(model, inputs)
    record = RecordPass(family, model, inputs, grid, card.layers)
    streams = record.for_any_words(queries=False, prompt_tokens=None).streams
    call = family.joined(family.concept_inputs(model, inputs), family.text_inputs(model, words, concepts=True))
    layout = Layout(WORDS, family.text_first, family.registers(model))

    def ask():
        linears = family.ask_linears(model).reading(Modulation())
        AskPass(family, model, call, grid, layout, linears)(streams)

    expected = {
        "stock": torch_flops(lambda: model(**inputs)),
        "record": torch_flops(lambda: record.for_any_words(queries=False, prompt_tokens=None)),
        "ask": torch_flops(ask),
    }
    passes = MetaPasses.of(card, family, small_transformer(family).to("meta"), latents.shape, FP32)
    counted = {"stock": passes.stock(), "record": passes.recorded[0], "ask": passes.ask(WORDS)}
    assert {key: operations.flops for key, operations in counted.items()} == expected


def test_flux_by_hand():
    """FLUX.1 at 1,024 pixels: 4,096 image tokens and 512 of the prompt, width 3,072; 3 double and 2 single blocks."""
    card, family, d, image, text, words = find_card("flux1-dev"), find_family("flux"), 3072, 4096, 512, 21
    shape = torch.Size((1, 16, 128, 128))
    transformer = build(family, card.architecture | {"num_layers": 3, "num_single_layers": 2}, tables=False)
    passes = MetaPasses.of(replace(card, layers=(2,)), family, transformer, shape, find_profile("bf16"))
    attention = 4 * (image + text) ** 2 * d
    block = 24 * d**2 * (image + text) + attention  # 4 d^2 of attention and 8 d^2 of feed-forward; two operations each
    assert passes.stock().flops == pytest.approx(5 * block, rel=0.01)
    record = 2 * block + 6 * d**2 * (image + text) + attention  # the pass ends after the attention of the last layer
    assert passes.recorded[0].flops == pytest.approx(record, rel=0.01)
    embedded = (4096 + 2 * 256 + 768 + 3 * d + 64) * d  # text, timestep, guidance, pooled text, image
    weights = (3 * 36 - 18) * d**2 + embedded  # 36 d^2 a block, of which 12 d^2 are modulation
    assert passes.recorded[0].weight_bytes == 2 * weights
    asked = 3 * (24 * d**2 * words + 4 * words * (words + image) * d) - 18 * d**2 * words
    modulation = 3 * 2 * 6 * d**2  # of the text, once for each block
    around = 2 * (4096 + 768 + 2 * 256 + 3 * d) * d * words  # embeddings of words, timestep, guidance, pooled text
    assert asked + modulation < passes.ask(words).flops < asked + modulation + around


def test_a_batch_reads_its_weights_once_and_quantised_weights_are_fewer_bytes():
    one = Operations(10, 6, 3)
    assert one.of_batch(4) == Operations(40, 6, 12)
    assert one + one == Operations(20, 12, 6)
    assert (one.bytes, one.of_batch(4).bytes) == (9, 18)
    layer, x = torch.nn.Linear(8, 4, device="meta"), torch.zeros(2, 8, device="meta")
    counts = {}
    for precision in ("bf16", "bnb-nf4"):
        profile = find_profile(precision)
        with OperationCounter(profile.linear_bytes, profile.dtype.itemsize) as counter:
            layer(x)
        counts[precision] = counter.counted
    assert counts["bf16"] == Operations(2 * 2 * 8 * 4, 2 * 32, 2 * (16 + 8))
    assert counts["bnb-nf4"].weight_bytes == round(32 * (0.5 + 4 / 64))


def test_the_least_time_is_by_peak_or_bandwidth():
    gpu = GPUS["A100"]
    assert gpu.seconds(Operations(312 * 10**12, 1, 1)) == pytest.approx(1)
    assert gpu.seconds(Operations(1, 0, 2_039 * 10**9)) == pytest.approx(1)
    assert gpu.seconds(Operations(195 * 10**11), torch.float32) == pytest.approx(1)
    assert gpu.hours(Operations(312 * 10**12), images=7200) == pytest.approx(2)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("Tesla T4", None),
    ],
)
def test_a_gpu_is_known_by_the_name_of_its_driver(driver, name):
    gpu = gpu_of_driver(driver)
    assert (None if gpu is None else gpu.name) == name


def test_what_cannot_be_computed_is_one_error():
    with pytest.raises(UserError, match="mini"):
        map_cost("mini")
    for name in ("hunyuan-image-2.1", "ernie-image"):
        with pytest.raises(UserError, match="depend on the text"):
            map_cost(name)
    with pytest.raises(OutOfRange):
        map_cost("flux2-klein-4b", resolution=256).ask(0)
