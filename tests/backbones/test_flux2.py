"""FLUX.2's words through the real processor and encoder classes, padded on either side; reference images."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Pipeline
from PIL import Image
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from tests.small_models import random_text, small_transformer
from tests.stock_run import recorded_calls
from tests.tiny_parts import tiny_flux2_autoencoder
from tests.tiny_text import CHAT, chat_tokenizer

LENGTH = 70
TEXT = "red traffic light"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
TINY = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}


def _tokenizer(side):
    words = chat_tokenizer("user system You", 0)
    words.add_special_tokens({"additional_special_tokens": ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]})
    words.chat_template, words.padding_side = CHAT, side
    return words


def tiny_flux2(side):
    words = _tokenizer(side)
    torch.manual_seed(0)
    config = Mistral3Config(
        text_config={"model_type": "mistral", "vocab_size": len(words), "num_hidden_layers": 31} | TINY,
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "head_dim": 4,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
    )
    processor = PixtralProcessor(PixtralImageProcessor(), words, chat_template=CHAT)
    encoder = Mistral3ForConditionalGeneration(config).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    transformer = small_transformer(find_family("flux2"))
    return Flux2Pipeline(scheduler, tiny_flux2_autoencoder(), encoder, processor, transformer), "flux2-dev"


def tiny_klein(side):
    words = _tokenizer(side)
    torch.manual_seed(0)
    encoder = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(words), num_hidden_layers=28, **TINY)).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    transformer = small_transformer(find_family("flux2-klein"))
    return Flux2KleinPipeline(scheduler, tiny_flux2_autoencoder(), encoder, words, transformer), "flux2-klein-4b"


@pytest.fixture(params=[tiny_flux2, tiny_klein], ids=["flux2", "flux2-klein"])
def maker(request):
    return request.param


def _word_ids(pipeline, family, text):
    """The ids of the encoder's input where `is_word` is true."""
    with recorded_calls(pipeline.text_encoder) as calls:
        [encoded] = family.encode_text(pipeline, [text], LENGTH)
    ids = calls[0]["input_ids"]
    assert ids.shape == (1, LENGTH)
    return ids[0][encoded.is_word].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_word_tokens_are_the_words_in_the_encoder_input(maker, side):
    pipeline, name = maker(side)
    family = backbone_of(pipeline, name).family
    words = getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)
    for text in (TEXT, "cat", "user system cat", "a photo of the red cat on the grass"):
        expected = words(text, add_special_tokens=False)["input_ids"]
        assert words.unk_token_id not in expected
        assert _word_ids(pipeline, family, text) == expected


@torch.no_grad()
def test_word_tokens_are_found_with_another_system_message():
    pipeline, _ = tiny_flux2("right")
    before = _word_ids(pipeline, find_family("flux2"), TEXT)
    pipeline.system_message = "a red dog"
    assert _word_ids(pipeline, find_family("flux2"), TEXT) == before


@torch.no_grad()
def test_concepts_have_the_first_position_of_a_prompt():
    family = find_family("flux2")
    model = small_transformer(family)
    text = random_text(family, 1, 4, 3)
    alone = family.text_inputs(model, TextTokens(text.hidden[:, :1]), concepts=False)["txt_ids"]
    together = family.text_inputs(model, text, concepts=True)["txt_ids"]
    assert torch.equal(together, alone.expand(4, -1))
    stock = Flux2Pipeline._prepare_text_ids(text.hidden)[0]
    assert torch.equal(family.text_inputs(model, text, concepts=False)["txt_ids"], stock)


def test_generation_from_reference_images_is_refused(maker):
    """Their tokens come last, where the maps of the image itself would be read."""
    pipeline, name = maker("right")
    pipeline.set_progress_bar_config(disable=True)
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    settings = {"height": 48, "width": 80, "num_inference_steps": 1, "max_sequence_length": LENGTH}
    trace = GenerationTrace(backbone, WORDS, layers=[0, 2])
    with trace, pytest.raises(UserError):
        pipeline(image=Image.new("RGB", (96, 64)), prompt=TEXT, **settings)
    assert not pipeline.transformer._forward_pre_hooks
    with trace:
        pipeline(prompt=TEXT, **settings)
    assert trace.maps().shape == (1, 3, 3, 5)
