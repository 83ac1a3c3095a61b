"""`load_backbone("mini")`: from a name to a frozen backbone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.card import Card, find_card
from ca_seg.backbones.hub import weights_folder
from ca_seg.backbones.lean import build_flux, read_into
from ca_seg.backbones.pixel_codec import PixelCodec
from ca_seg.backbones.registry import FAMILIES
from ca_seg.backbones.t5_clip import T5ClipText
from ca_seg.backbones.text import TextEncoder, WordTableText
from ca_seg.backbones.word_table import WordTable
from ca_seg.errors import OutOfRange, UnknownName, WeightsUnavailable
from ca_seg.shipped import shipped

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PARTS = ["transformer/*", "vae/*", "text_encoder/*", "text_encoder_2/*", "tokenizer/*", "tokenizer_2/*"]


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    transformer: nn.Module | None = None,
    autoencoder: nn.Module | None = None,
    text: TextEncoder | None = None,
    device: str = "cpu",
    precision: str | None = None,
    last_layer: int | None = None,
    resolution: int | None = None,
    random_weights: bool = False,
    seed: int = 0,
) -> Backbone:
    """The backbone called `name`, frozen, on `device`.

    `weights`: a local folder in the diffusers layout, instead of the card's own place. `transformer`, `autoencoder`,
    `text`: ready parts (a finetune, a small one in a test) in place of the loaded ones. `precision`: fp32, bf16 or
    fp16; by default fp32 on a CPU and bf16 elsewhere. `last_layer`: blocks after it are not loaded (default: the last
    layer of the card). `resolution`: pixels of the short side (default: the card's). `random_weights`: the card's
    architecture with fresh weights, as a baseline.

    Raises UnknownName (with near names), WeightsUnavailable, CorruptWeights.
    """
    card = find_card(name)
    if resolution is not None:
        if resolution < card.multiple:
            raise OutOfRange(f"resolution {resolution}", allowed=f"{card.multiple} pixels or more")
        card = replace(card, resolution=resolution)
    if precision is not None and precision not in DTYPES:
        raise UnknownName("precision", precision, DTYPES)
    dtype = DTYPES[precision or ("fp32" if torch.device(device).type == "cpu" else "bf16")]
    local = None if weights is None else Path(weights)
    missing = [part for part in (transformer, autoencoder, text) if part is None]
    folder = weights_folder(card, local, PARTS) if missing else Path()
    if transformer is None:
        keep = (max(card.layers) if last_layer is None else last_layer) + 1
        transformer = _transformer(folder, None if card.folder else keep, dtype, random_weights, seed)
    if autoencoder is None:
        kind = PixelCodec if card.text == "word-table" else AutoencoderKL
        autoencoder = _local(kind, folder, "vae", dtype)
    if text is None:
        text = _text(card, folder, dtype, device)
    return Backbone(card, FAMILIES[card.family], transformer.to(device), autoencoder.to(device), text)


def _transformer(folder: Path, keep: int | None, dtype: torch.dtype, random_weights: bool, seed: int) -> nn.Module:
    part = folder / "transformer"
    if not (part / "config.json").exists():
        raise WeightsUnavailable(f"no {part / 'config.json'}", fix="give a folder in the diffusers layout")
    config = json.loads((part / "config.json").read_text(encoding="utf-8"))
    if not random_weights:
        return read_into(build_flux(config, keep), part, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FluxTransformer2DModel.from_config(config).to(dtype)


def _local(kind, folder: Path, part: str, dtype: torch.dtype):
    """A diffusers or transformers part from its folder, safetensors only."""
    if not (folder / part).is_dir():
        raise WeightsUnavailable(f"no folder {folder / part}", fix="give a folder in the diffusers layout")
    return kind.from_pretrained(folder / part, torch_dtype=dtype, use_safetensors=True, local_files_only=True)


def _text(card: Card, folder: Path, dtype: torch.dtype, device: str) -> TextEncoder:
    if card.text == "word-table":
        return WordTableText(WordTable.load(shipped("checkpoints", "words")))
    return T5ClipText(
        _local(T5EncoderModel, folder, "text_encoder_2", dtype).to(device).eval(),
        AutoTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        _local(CLIPTextModel, folder, "text_encoder", dtype).to(device).eval(),
        AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        card.text_tokens,
    )
