"""Stock pipelines of transformers with one stream for text and image, from tiny random parts of the real classes."""

from __future__ import annotations

import torch
from diffusers import (
    ErnieImagePipeline,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Lumina2Pipeline,
)
from transformers import Gemma2Config, Gemma2Model, Mistral3Config, Mistral3Model, Qwen3VLConfig, Qwen3VLModel

from ca_seg.backbones.families.registry import find_family
from tests.small_models import small_transformer
from tests.tiny_parts import tiny_autoencoder, tiny_flux2_autoencoder, tiny_qwen_autoencoder
from tests.tiny_text import WORDS, chat_tokenizer, tiny_tokenizer


def tiny_ernie_image():
    words = tiny_tokenizer(length=40, start="<s>", end=None)
    torch.manual_seed(0)
    text = {
        "model_type": "mistral",
        "vocab_size": len(words),
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 12,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
        "image_size": 16,
        "patch_size": 8,
    }
    encoder = Mistral3Model(Mistral3Config(text_config=text, vision_config=vision)).eval()
    pipeline = ErnieImagePipeline(
        small_transformer(find_family("ernie-image")),
        tiny_flux2_autoencoder(),
        encoder,
        words,
        FlowMatchEulerDiscreteScheduler(shift=4.0),
    )
    return pipeline, "ernie-image", {"guidance_scale": 4.0}


def tiny_krea2():
    empty = Krea2Pipeline(*[None] * 5)
    head, tail = empty.prompt_template_encode_prefix, empty.prompt_template_encode_suffix
    words = chat_tokenizer(head, 0)
    torch.manual_seed(0)
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 16,
    }
    pipeline = Krea2Pipeline(
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        tiny_qwen_autoencoder(),
        Qwen3VLModel(Qwen3VLConfig(text_config=text, vision_config=vision)).eval(),
        words,
        small_transformer(find_family("krea2")),
        text_encoder_select_layers=(0, 1, 2, 3) * 3,
    )
    pipeline.prompt_template_encode_start_idx = len(words(head)["input_ids"])
    pipeline.prompt_template_encode_num_suffix_tokens = len(words(tail)["input_ids"])
    return pipeline, "krea2", {"guidance_scale": 4.0}


def tiny_lumina2():
    prompt = Lumina2Pipeline(*[None] * 5).system_prompt + " <Prompt Start>"
    extra = [word for word in dict.fromkeys(prompt.split()) if word not in WORDS]
    words = tiny_tokenizer(length=60, start="<s>", end=None, extra_words=tuple(extra))
    torch.manual_seed(0)
    encoder = Gemma2Model(
        Gemma2Config(
            vocab_size=len(words),
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=12,
            pad_token_id=words.pad_token_id,
        )
    )
    pipeline = Lumina2Pipeline(
        small_transformer(find_family("lumina2")),
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        tiny_autoencoder(),
        encoder.eval(),
        words,
    )
    return pipeline, "lumina-image-2.0", {"guidance_scale": 4.0}
