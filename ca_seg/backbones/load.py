"""`load_backbone("mini")`: from a name to a frozen backbone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors import SafetensorError
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
from ca_seg.errors import CorruptWeights, OutOfRange, UnknownName, UserError, WeightsUnavailable
from ca_seg.shipped import shipped

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FOLDERS = {
    "transformer": ("transformer",),
    "autoencoder": ("vae",),
    "text": ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
}
BROKEN = (OSError, ValueError, KeyError, SafetensorError)  # what the libraries raise for files that are not theirs


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
    fp16; by default fp32 on a CPU and for shipped weights, bf16 elsewhere. `last_layer`: blocks after it are not loaded
    (default: the last layer of the card). `resolution`: pixels of the short side (default: the card's).
    `random_weights`: the card's architecture with fresh weights, as a baseline.

    Raises UnknownName (with near names), WeightsUnavailable, CorruptWeights.
    """
    card = find_card(name)
    if resolution is not None:
        if resolution < card.multiple:
            raise OutOfRange(f"resolution {resolution}", allowed=f"{card.multiple} pixels or more")
        card = replace(card, resolution=resolution)
    if precision is not None and precision not in DTYPES:
        raise UnknownName("precision", precision, DTYPES)
    check_device(device)
    small = bool(card.folder) or torch.device(device).type == "cpu"  # shipped figures must not change with the device
    dtype = DTYPES[precision or ("fp32" if small else "bf16")]
    given = {"transformer": transformer, "autoencoder": autoencoder, "text": text}
    missing = [f"{part}/*" for name, own in given.items() if own is None for part in FOLDERS[name]]
    folder = weights_folder(card, None if weights is None else Path(weights), missing) if missing else Path()
    if transformer is None:
        keep = None if card.folder else (max(card.layers) if last_layer is None else last_layer) + 1
        transformer = _transformer(folder / "transformer", keep, dtype, device, random_weights, seed)
    if autoencoder is None:
        kind = PixelCodec if card.text == "word-table" else AutoencoderKL
        autoencoder = _part(kind, folder / "vae", dtype)
    if text is None:
        text = _text(card, folder, dtype, device)
    return Backbone(card, FAMILIES[card.family], transformer.to(device), autoencoder.to(device), text)


def check_device(device: str) -> None:
    """Raises UserError for a device that is not there, before anything large is read."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as problem:
        why = str(problem).splitlines()[0]
        raise UserError(f"the device {device!r} cannot be used ({why})", allowed="cpu, cuda, cuda:1, mps") from problem


def _transformer(
    part: Path, keep: int | None, dtype: torch.dtype, device: str, random_weights: bool, seed: int
) -> nn.Module:
    file = part / "config.json"
    if not file.exists():
        raise WeightsUnavailable(f"no {file}", fix="give a folder in the diffusers layout")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise CorruptWeights(f"{file} is not JSON ({problem})", fix="download it again") from problem
    double, single = config.get("num_layers", 19), config.get("num_single_layers", 38)
    if keep is not None and not 1 <= keep <= double + single:
        raise OutOfRange(f"last_layer {keep - 1}", allowed=f"0 to {double + single - 1}")
    if not random_weights:
        return read_into(build_flux(config, keep), part, dtype, device)
    if keep is not None:
        config = config | {"num_layers": min(keep, double), "num_single_layers": max(0, keep - double)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FluxTransformer2DModel.from_config(config).to(dtype)


def _part(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A diffusers or transformers model from its folder: safetensors only, and every tensor must be there."""
    if not folder.is_dir():
        raise WeightsUnavailable(f"no folder {folder}", fix="give a folder in the diffusers layout")
    try:
        model, found = kind.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except BROKEN as problem:
        raise CorruptWeights(
            f"{folder} cannot be read ({str(problem).splitlines()[0]})", fix="download it again"
        ) from problem
    if found["missing_keys"]:
        raise CorruptWeights(f"{folder} lacks the tensor {sorted(found['missing_keys'])[0]}", fix="download it again")
    return model.eval()


def _tokenizer(folder: Path) -> Any:
    if not folder.is_dir():
        raise WeightsUnavailable(f"no folder {folder}", fix="give a folder in the diffusers layout")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except BROKEN as problem:
        raise CorruptWeights(
            f"{folder} cannot be read ({str(problem).splitlines()[0]})", fix="download it again"
        ) from problem


def _text(card: Card, folder: Path, dtype: torch.dtype, device: str) -> TextEncoder:
    if card.text == "word-table":
        return WordTableText(WordTable.load(shipped("checkpoints", "words")))
    return T5ClipText(
        _part(T5EncoderModel, folder / "text_encoder_2", dtype),
        _tokenizer(folder / "tokenizer_2"),
        _part(CLIPTextModel, folder / "text_encoder", dtype),
        _tokenizer(folder / "tokenizer"),
        card.text_tokens,
        device,
    )
