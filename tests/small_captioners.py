"""BLIP and Florence-2: the classes of transformers with stock configurations made small, random, with a tokenizer.

Their words are nouns and a few others, so that a random caption reads like "cat of sky tree".
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)

WORDS = ("cat", "grass", "sky", "tree", "a", "of", "on", "dog", "house", "car")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
IMAGE = "<image>"  # of Florence-2
SIDE = 32


def _tokenizer(*more: str, **options: Any) -> PreTrainedTokenizerFast:
    ids = {word: index for index, word in enumerate((*SPECIAL, *WORDS, *more))}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    ends = [(name, ids[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **options)


def small_blip() -> tuple[Any, Any]:
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **width,
        "vocab_size": len(SPECIAL) + len(WORDS),
        "encoder_hidden_size": 16,
        "projection_dim": 16,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
    }
    vision = {**width, "image_size": SIDE, "patch_size": 8, "projection_dim": 16}
    model = _random(BlipForConditionalGeneration, BlipConfig(text_config=text, vision_config=vision))
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    return model, BlipProcessor(images, _tokenizer())


def small_florence() -> tuple[Any, Any]:
    text = {
        "model_type": "bart",
        "vocab_size": len(SPECIAL) + len(WORDS) + 1,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "decoder_start_token_id": 3,
        "forced_eos_token_id": None,
    }
    vision = {
        "depths": (1, 1),
        "patch_size": (7, 3),
        "patch_stride": (4, 2),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "embed_dim": (8, 16),
        "num_heads": (2, 2),
        "num_groups": (2, 2),
        "window_size": 4,
        "projection_dim": 16,
    }
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=len(SPECIAL) + len(WORDS))
    model = _random(Florence2ForConditionalGeneration, config)
    images = CLIPImageProcessor(size={"height": SIDE, "width": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    images.image_seq_length = (SIDE // 8) ** 2 + 1
    tokenizer = _tokenizer(IMAGE, extra_special_tokens={"image_token": IMAGE})
    return model, Florence2Processor(images, tokenizer)


SMALL = {"blip": small_blip, "florence": small_florence}


def _random(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.5)
    return model
