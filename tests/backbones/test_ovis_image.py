"""Ovis-Image against its stock pipeline: tiny encoder and models of the real classes, one real generation."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, OvisImagePipeline
from transformers import Qwen3Model

from ca_seg import Vocabulary
from ca_seg.backbones.families.flux import unpack
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.generate import generate
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from tests.small_models import small_transformer
from tests.stock_run import noted_calls, stock_run
from tests.tiny_parts import tiny_autoencoder, tiny_qwen3
from tests.tiny_text import CHAT, chat_tokenizer

FAMILY = find_family("ovis-image")
LENGTH = 14
PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])


@pytest.fixture
def pipeline():
    told = OvisImagePipeline(None, None, None, None, None).system_prompt
    head = f"<|im_start|> user {told}"
    words = chat_tokenizer(head, 40)  # puts start tokens before a text, where it is asked for them
    words.chat_template = CHAT
    torch.manual_seed(0)
    made = OvisImagePipeline(
        FlowMatchEulerDiscreteScheduler(),
        tiny_autoencoder(),
        Qwen3Model(tiny_qwen3(words)).eval(),
        words,
        small_transformer(FAMILY),
    )
    # as with the real tokenizer, one token of the template is left before the text
    made.user_prompt_begin_id = len(words(head, add_special_tokens=False)["input_ids"]) - 1
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def backbone(pipeline):
    made = backbone_of(pipeline, "ovis-image-7b", resolution=48)
    made.text.length = LENGTH
    return made


def _generate(pipeline, guidance=4.0):
    return stock_run(
        pipeline, prompt=PROMPT, guidance_scale=guidance, negative_prompt="grass", max_sequence_length=LENGTH
    )


@torch.no_grad()
def test_our_call_is_the_stock_pipelines(pipeline, backbone):
    """For the latents and the moment of each stock step, our arguments equal the pipeline's, in kind and value."""
    _, calls = _generate(pipeline, guidance=1.0)
    assert len(calls) == 2
    for call in calls:
        grid = FAMILY.grid(pipeline.transformer, call)
        assert (grid.height, grid.width) == (3, 5)
        latents = unpack(call["hidden_states"], grid)
        ours = FAMILY.inputs(pipeline.transformer, latents, backbone.text.prompt([PROMPT]), call["timestep"], 0.0)
        assert set(ours) == {name for name, value in call.items() if isinstance(value, torch.Tensor)}
        for name, value in ours.items():
            torch.testing.assert_close(value, call[name], atol=1e-6, rtol=1e-6, msg=lambda t, n=name: f"{n}: {t}")
    assert 0.0 < float(calls[1]["timestep"]) < float(calls[0]["timestep"]) == 1.0


@torch.no_grad()
def test_a_trace_leaves_what_is_generated_and_skips_the_negative_prompt(pipeline, backbone):
    plain, calls = _generate(pipeline)
    assert len(calls) == 4
    with GenerationTrace(backbone, WORDS, layers=[0, 2]) as trace:
        traced, _ = _generate(pipeline)
    assert torch.equal(plain, traced)
    assert trace.steps == 2
    assert trace.maps().shape == (1, 3, 3, 5)


@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_generating_gives_what_the_stock_pipeline_gives(pipeline, backbone, guidance):
    settings = {"height": 48, "width": 80}
    made = generate(backbone, PROMPT, WORDS, steps=2, guidance=guidance, seed=5, layers=[0, 2], **settings)
    stock = pipeline(
        **FAMILY.prompt_arguments(backbone.text.prompt([PROMPT])),
        **settings,
        num_inference_steps=2,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
    )
    assert made.images[0].tobytes() == stock.images[0].tobytes()
    assert made.maps.shape == (1, 3, 48, 80)


@torch.no_grad()
@pytest.mark.parametrize("text", ["red traffic light", "cat", "user Describe cat"])
def test_own_tokens_are_the_words_that_the_encoder_was_given(pipeline, text):
    with noted_calls(pipeline.text_encoder) as seen:
        [encoded] = FAMILY.encode_text(pipeline, [text], LENGTH)
    given = seen[0]["input_ids"][0][pipeline.user_prompt_begin_id :]
    expected = pipeline.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(seen) == 1  # no negative prompt is encoded along
    assert given[encoded.is_word].tolist() == expected
    assert encoded.is_word.nonzero()[0] == 1
    padding = given == pipeline.tokenizer.pad_token_id
    assert padding.any()
    assert not encoded.hidden[padding].any()
    assert encoded.hidden[~padding].any(dim=1).all()


def test_an_empty_text_has_one_token_and_a_long_one_is_named(pipeline):
    [empty] = FAMILY.encode_text(pipeline, [""], LENGTH)
    assert int(empty.is_word.sum()) == 1
    FAMILY.encode_text(pipeline, ["red " * 10], LENGTH)
    with pytest.raises(UserError, match=r"'red red .*15 tokens.*at most 14"):
        FAMILY.encode_text(pipeline, ["red " * 11], LENGTH)


def test_a_pipeline_that_cannot_be_told_a_length_is_named(pipeline, monkeypatch):
    monkeypatch.setattr(type(pipeline), "encode_prompt", lambda self, prompt, device=None: None)
    with pytest.raises(UserError, match="Upgrade diffusers"):
        FAMILY.encode_text(pipeline, ["cat"], LENGTH)


@torch.no_grad()
def test_clean_latents_decode_as_the_pipeline_decodes(pipeline, backbone):
    image = torch.rand(1, 3, 48, 80)
    config = pipeline.vae.config
    code = pipeline.vae.encode(2 * image - 1).latent_dist.mode()
    undone = backbone.encode(image) / config.scaling_factor + config.shift_factor
    torch.testing.assert_close(undone, code, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_images_are_recorded_and_asked(backbone):
    recording = backbone.record(torch.rand(2, 3, 30, 50), timesteps=[0.2, 0.8], layers=[0, 2])
    maps = recording.ask(WORDS).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(recording.select(1).ask(WORDS).maps()[0], maps[1], atol=1e-5, rtol=1e-5)
