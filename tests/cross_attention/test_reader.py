"""What does not depend on a family: tokens of words, sizes, layers, bad input."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import nn

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.unet import UNetFamily
from ca_seg.cross_attention.layer import CrossAttention
from ca_seg.cross_attention.maps import PhraseTokens, merged
from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.cross_attention.trace import CrossAttentionTrace
from ca_seg.cross_attention.words import PromptTokens, prompts_of, tokenise
from ca_seg.errors import OutOfRange, UnknownName, UserError
from tests.cross_attention.tiny import TINY, generate, stable_diffusion, wan
from tests.tiny_text import tiny_tokenizer

IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pipeline():
    return stable_diffusion()


def test_tokens_of_phrases_are_those_of_whole_words_in_any_case():
    words = tiny_tokenizer(length=20, start="<s>", extra_words=("cats", "Cat"))
    tokens = tokenise(words, "a Cat on cats the cat traffic  light", 12)
    assert tokens.of_phrase("cat") == (2, 6)
    assert tokens.of_phrase("traffic light") == (7, 8)
    assert tokens.unpadded == tuple(range(10))
    assert tokens.padding == (False,) * 10 + (True,) * 2
    with pytest.raises(UserError, match="ats"):
        tokens.of_phrase("ats")
    with pytest.raises(UserError, match=r"too long.*10 tokens"):
        tokenise(words, "a Cat on cats the cat traffic  light", 9)


def test_a_listed_phrase_is_not_looked_for_in_others():
    words = tiny_tokenizer(length=20, start="<s>")
    tokens = tokenise(words, "a cat light , a cat , a light", 12)
    assert tokens.in_order(["cat light", "cat", "light"]) == [(2, 3), (6,), (9,)]
    assert tokens.of_phrase("cat") == (2, 6)
    with pytest.raises(UserError, match="cat light"):
        tokens.in_order(["cat", "cat light"])


def test_a_tokenizer_without_letters_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="Slow"):
        tokenise(Slow(), "cat", 5)


def test_phrases_are_grouped_in_order_as_they_fit():
    assert prompts_of(["aa", "b", "c", "dddd"], lambda prompt: len(prompt) <= 9) == [["aa", "b"], ["c"], ["dddd"]]
    with pytest.raises(UserError, match="'ddddd'"):
        prompts_of(["a", "ddddd"], lambda prompt: len(prompt) <= 6)


def test_merged_maps_are_the_mean_of_all_heads_on_the_largest_grid():
    large, small = torch.rand(2, 3, 4, 4, 6), torch.rand(2, 5, 4, 2, 3)
    upscaled = nn.functional.interpolate(small.flatten(0, 1), (4, 6), mode="bilinear").unflatten(0, (2, 5))
    expected = torch.cat([large, upscaled], dim=1).mean(dim=1)
    torch.testing.assert_close(merged([small, large], resizing="bilinear"), expected)
    assert merged([small, large]).min() >= 0
    video = torch.rand(2, 3, 4, 7, 4, 6)  # frames before h: each is resized on its own
    both = merged([video, torch.rand(2, 3, 4, 7, 2, 3)])
    assert both.shape == (2, 4, 7, 4, 6)
    with pytest.raises(UnknownName, match="bicubic"):
        merged([large], resizing="cubic")


def test_phrases_have_the_mean_of_their_tokens():
    tokens = PromptTokens("red cat", ((0, 3), (4, 7)), (False, False), (5, 6))
    chosen = PhraseTokens.of(tokens, ["cat", "red cat"])
    maps = torch.rand(1, 2, 3, 3)
    order = [chosen.tokens.index(1), chosen.tokens.index(0)]
    torch.testing.assert_close(chosen.pooled(maps)[0], torch.stack([maps[0, order[0]], maps[0].mean(dim=0)]))


def test_probabilities_with_masks_scales_and_fewer_tokens():
    """A boolean and an additive mask, a scale of its own, grouped keys, and a softmax over some tokens."""
    query, key = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 5, 8)
    keep = torch.tensor([True, True, False, True, True])
    scores = (query @ key.mT) * 0.3
    expected = scores.masked_fill(~keep, -torch.inf).softmax(dim=-1).mT
    for mask in (keep[None, None, None], torch.where(keep, 0.0, -1e9)[None, None, None]):
        layer = CrossAttention("a", Grid(2, 3), query, key, mask, 0.3)
        torch.testing.assert_close(layer.probabilities(), expected)
        torch.testing.assert_close(layer.maps([3])[:, :, 0].flatten(2), expected[:, :, 3])
    some = scores[..., [0, 4]].softmax(dim=-1).mT
    layer = CrossAttention("a", Grid(2, 3), query, key, None, 0.3)
    torch.testing.assert_close(layer.probabilities([4], among=[0, 4]), some[:, :, 1:])


@pytest.mark.parametrize("size", [(48, 80), (72, 56), (40, 104)])
def test_a_u_net_takes_sides_that_it_cannot_halve_evenly(pipeline, size):
    recording = CrossAttentionReader(pipeline, resolution=min(size)).record(torch.rand(1, 3, *size), "a cat")
    height, width = size[0] // 8, size[1] // 8
    assert {(layer.grid.height, layer.grid.width) for layer in recording.layers} == {
        (height, width),
        (-(-height // 2), -(-width // 2)),
    }


def test_layers_are_chosen_by_patterns(pipeline):
    reader = CrossAttentionReader(pipeline, layers="up_blocks.*", resolution=48)
    names = [layer.name for layer in reader.record(IMAGE, "a cat").layers]
    assert names == reader.layer_names
    assert names
    assert all(name.startswith("up_blocks.") for name in names)
    with pytest.raises(UserError, match=r"blocks\.7"):
        CrossAttentionReader(pipeline, layers=["blocks.7*"])


def test_the_pipeline_generates_as_before_after_a_recording(pipeline):
    tiny = TINY["stable-diffusion"]
    before, _ = generate(tiny, pipeline, "a cat")
    state = torch.get_rng_state()
    CrossAttentionReader(pipeline, resolution=48).record(IMAGE, "a dog", timesteps=0.3)
    assert torch.equal(torch.get_rng_state(), state)
    after, _ = generate(tiny, pipeline, "a cat")
    assert torch.equal(before, after)


def test_an_attention_that_is_not_the_kernel_is_refused(pipeline):
    pipeline.unet.set_attn_processor(AttnProcessor())
    with pytest.raises(UserError, match="AttnProcessor2_0"):
        CrossAttentionReader(pipeline, resolution=48).record(IMAGE, "a cat")


def test_a_second_attention_to_a_picture_is_refused(pipeline):
    attention = next(m for n, m in pipeline.unet.named_modules() if n.endswith("attn2"))
    attention.set_processor(AttendsTwice())
    with pytest.raises(UserError, match="IP-Adapter"):
        CrossAttentionReader(pipeline, resolution=48).record(IMAGE, "a cat")


class AttendsTwice(AttnProcessor2_0):
    """To the text and, as an IP-Adapter does, to something else."""

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs) + super().__call__(*args, **kwargs)


def test_hooks_are_removed_after_an_exception(pipeline):
    def hooks():
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules()]

    def fail(*_):
        raise ZeroDivisionError

    failing = pipeline.unet.conv_out.register_forward_pre_hook(fail)
    before = hooks()
    reader = CrossAttentionReader(pipeline, resolution=48)
    with CrossAttentionTrace(reader, "a cat", "cat") as trace, pytest.raises(ZeroDivisionError):
        generate(TINY["stable-diffusion"], pipeline, "a cat")
    with pytest.raises(ZeroDivisionError):
        reader.record(IMAGE, "a cat")
    assert hooks() == before
    assert trace.steps == 0
    failing.remove()
    with trace:  # no attention is intercepted twice
        generate(TINY["stable-diffusion"], pipeline, "a cat")
    assert trace.steps == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timesteps": 1.5}, "1.5"),
        ({"noise_samples": 0}, "noise samples"),
        ({"seed": [1, 2]}, "2 seeds"),
    ],
)
def test_values_out_of_range_are_refused(pipeline, arguments, message):
    with pytest.raises(UserError, match=message):
        CrossAttentionReader(pipeline, resolution=48).record(IMAGE, "a cat", **arguments)


def test_other_bad_input_is_refused(pipeline):
    reader = CrossAttentionReader(pipeline, resolution=48)
    with pytest.raises(OutOfRange, match="resolution 4"):
        CrossAttentionReader(pipeline, resolution=4)
    with pytest.raises(UserError, match="Linear"):
        CrossAttentionReader(nn.Linear(2, 2))
    with pytest.raises(UserError, match="path"):
        reader.record("cat.jpg")
    with pytest.raises(UserError, match="dog"):
        reader.record(IMAGE, "a cat").maps(["dog"])
    with pytest.raises(UserError, match="nothing was generated"):
        CrossAttentionTrace(reader, "a cat", "cat").maps()
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(UserError, match=DDIMScheduler.__name__):
        reader.record(IMAGE, "a cat")


def test_timesteps_of_two_transformers_are_not_mixed():
    reader = CrossAttentionReader(wan(two=True), resolution=48)
    with pytest.raises(UserError, match="two transformers"):
        reader.record(IMAGE, "a cat", timesteps=[0.95, 0.3])
    assert reader.record(IMAGE, "a cat", timesteps=0.95).prediction.shape == (1, 4, 1, 6, 8)


def test_a_clip_is_refused():
    with pytest.raises(UserError, match="Trace"):
        CrossAttentionReader(wan(), resolution=48).record(torch.rand(1, 3, 5, 48, 80), "a cat")


SD = {
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "sample_size": 64,
}
SD2 = {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
    "sample_size": 64,
}
SDXL = {
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


@pytest.mark.parametrize(
    ("config", "parameters", "layers", "middle"),
    [(SD, 859_520_964, 16, 1), (SD2, 865_910_724, 16, 1), (SDXL, 2_567_463_684, 70, 10)],
    ids=["1.5", "2", "xl"],
)
def test_the_layers_of_the_published_u_nets(config, parameters, layers, middle):
    """Stable Diffusion 1.5, 2 and XL, by their published configurations."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    assert sum(p.numel() for p in unet.parameters()) == parameters
    names = list(UNetFamily().layers(unet))
    assert len(names) == layers
    assert sum(name.startswith("mid_block.") for name in names) == middle
