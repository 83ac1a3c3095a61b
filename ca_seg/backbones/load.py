"""`load_backbone("mini")`: from a name to a frozen backbone; `backbone_of(pipeline, "flux1-dev")`: from a pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.registry import FAMILIES
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.folder_parts import (
    TEXT,
    read_autoencoder,
    read_config,
    read_model,
    read_scheduler,
    text_pipeline,
)
from ca_seg.backbones.loading.hub import cache_folder, weights_folder
from ca_seg.backbones.loading.partial import build, skip_later_blocks
from ca_seg.backbones.loading.profiles import Profile, find_profile, offloaded, read_gguf, read_quantised
from ca_seg.backbones.loading.random_init import random_init
from ca_seg.backbones.pixel_codec import PixelCodec
from ca_seg.backbones.text.encoder import TextEncoder, WordTableText
from ca_seg.backbones.text.pipeline_text import PipelineText
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import OutOfRange, UnknownName, UserError, WeightsUnavailable
from ca_seg.resources import resource_path

OFFLOAD = ("none", "group")


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    gguf: str | Path | None = None,
    transformer: nn.Module | None = None,
    autoencoder: nn.Module | None = None,
    text: TextEncoder | None = None,
    device: str = "cpu",
    precision: str | None = None,
    offload: str = "none",
    last_layer: int | None = None,
    resolution: int | None = None,
    phrase_pooling: str | None = None,
    random_weights: bool = False,
    seed: int = 0,
) -> Backbone:
    """The backbone called `name`, frozen, on `device`.

    `weights`: a local folder in the diffusers layout, instead of the card's own place. `gguf`: a GGUF file of the
    transformer. `transformer`, `autoencoder`, `text`: ready parts (a finetune, a small one in a test) in place of the
    loaded ones. `precision`: a name from `profiles.py` (fp32, bf16, fp16, bnb-nf4 ...); by default fp32 on a CPU and
    for shipped weights, bf16 elsewhere. `offload`: "group" keeps the transformer in main memory and brings block after
    block to `device`. `last_layer`: blocks after it are not loaded (default: the last layer of the card). `resolution`:
    pixels of the short side (default: the card's). `phrase_pooling`: which of a phrase's tokens stands for it (first,
    mean or last; default: the card's). `random_weights`: the card's architecture with fresh weights, as a
    baseline.

    Raises UnknownName (with near names), WeightsUnavailable, CorruptWeights.
    """
    card, family = at_resolution(find_card(name), resolution), family_of(find_card(name))
    card = card if phrase_pooling is None else replace(card, phrase_pooling=phrase_pooling)
    check_device(device)
    small = bool(card.folder) or torch.device(device).type == "cpu"  # shipped figures must not change with the device
    profile = find_profile(precision or ("fp32" if small else "bf16"))
    if offload not in OFFLOAD:
        raise UnknownName("offload", offload, OFFLOAD)
    if offload == "group" and torch.device(device).type == "cpu":
        raise UserError("offload 'group' on the device 'cpu'", allowed="an accelerator", fix="leave it out")
    patterns = _patterns(transformer is None, autoencoder is None, text is None, gguf is not None)
    folder = weights_folder(card, None if weights is None else Path(weights), patterns) if patterns else Path()
    scheduler = read_scheduler(folder) if patterns else None
    if transformer is None:
        keep = None if card.folder else (max(card.layers) if last_layer is None else last_layer) + 1
        if random_weights:
            transformer = random_init(family, read_config(folder / "transformer" / "config.json"), keep, seed)
            transformer = transformer if profile.dtype == torch.float32 else transformer.to(profile.dtype)
        elif gguf is not None:
            transformer = without_later(family, read_gguf(family, Path(gguf), folder, profile.dtype), keep)
        else:
            transformer = _read(family, folder / "transformer", keep, profile, "cpu" if offload == "group" else device)
    if autoencoder is None:
        shipped_codec = card.text == "word-table"
        autoencoder = (
            read_model(PixelCodec, folder / "vae", profile.dtype)
            if shipped_codec
            else read_autoencoder(folder, profile.dtype)
        )
    placed = offloaded(transformer, device) if offload == "group" else transformer.to(device)
    if text is None:
        stays = profile.quantised or gguf is not None or offload == "group" or torch.device(device).type == "cpu"
        text = _text(card, family, folder, profile.dtype, device, None if stays else placed)
    return Backbone(card, family, placed, autoencoder.to(device), text, scheduler)


def backbone_of(pipeline: Any, name: str, *, resolution: int | None = None, cache: Path | None = None) -> Backbone:
    """A backbone around a diffusers pipeline that the user has loaded: a finetune, one with LoRA, quantised, offloaded.

    `name` is the card whose settings hold (layers, timestep ...). The pipeline's own text encoders are used and not
    freed. Raises UserError when the pipeline's transformer is not of the card's family.
    """
    card, family = at_resolution(find_card(name), resolution), family_of(find_card(name))
    found = type(pipeline.transformer).__name__
    if found != family.transformer:
        raise UserError(f"{name} is a {family.transformer}, the pipeline has a {found}", fix="name another card")
    text = PipelineText(family, lambda: pipeline, card.text_tokens, cache=cache)
    return Backbone(card, family, pipeline.transformer, pipeline.vae, text, pipeline.scheduler)


def at_resolution(card: Card, resolution: int | None) -> Card:
    """The card with another resolution. Raises OutOfRange."""
    if resolution is None:
        return card
    if resolution < card.multiple:
        raise OutOfRange(f"resolution {resolution}", allowed=f"{card.multiple} pixels or more")
    return replace(card, resolution=resolution)


def family_of(card: Card) -> Family:
    """Raises UnknownName."""
    if card.family not in FAMILIES:
        raise UnknownName("family", card.family, FAMILIES, fix=f"see the card {card.name}")
    return FAMILIES[card.family]


def check_device(device: str) -> None:
    """Raises UserError for a device that is not there, before anything large is read."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as problem:
        why = str(problem).splitlines()[0]
        raise UserError(f"the device {device!r} cannot be used ({why})", allowed="cpu, cuda, cuda:1, mps") from problem


def without_later(family: Family, transformer: nn.Module, keep: int | None) -> nn.Module:
    return transformer if keep is None else skip_later_blocks(family, transformer, keep)


def _patterns(transformer: bool, autoencoder: bool, text: bool, gguf: bool) -> list[str]:
    """The files that are needed when these parts must be loaded."""
    own = ["transformer/config.json" if gguf else "transformer/*"] if transformer else []
    own += ["vae/*"] if autoencoder else []
    own += [f"{name}/*" if name.endswith("*") else name for name in TEXT] if text else []
    return [*own, "scheduler/*"] if own else []


def _read(family: Family, part: Path, keep: int | None, profile: Profile, device: str) -> nn.Module:
    config = read_config(part / "config.json")
    if str(config.get("_class_name", family.transformer)) != family.transformer:
        raise WeightsUnavailable(
            f"{part / 'config.json'} describes a {config['_class_name']}", allowed=family.transformer
        )
    return read_quantised(build(family, config, keep), part, profile, device)


def _text(
    card: Card, family: Family, folder: Path, dtype: torch.dtype, device: str, moved: nn.Module | None
) -> TextEncoder:
    """The text side; `moved` leaves `device` while the text encoders are on it."""
    if card.text == "word-table":
        return WordTableText(WordTable.load(resource_path("checkpoints", "words")))
    load: Callable[[], Any] = partial(text_pipeline, family, folder, dtype, device)
    cache = cache_folder() / "words" / _fingerprint(card, folder, dtype)
    room = nullcontext if moved is None else partial(offloaded_to_cpu, moved, device)
    return PipelineText(family, load, card.text_tokens, cache=cache, room=room)


@contextmanager
def offloaded_to_cpu(transformer: nn.Module, device: str) -> Iterator[None]:
    """The transformer in main memory, afterwards back on `device`."""
    transformer.to("cpu")
    try:
        yield
    finally:
        transformer.to(device)


def _fingerprint(card: Card, folder: Path, dtype: torch.dtype) -> str:
    """Of the text encoders' files (names, sizes, times) and of what else decides what a word becomes."""
    files = sorted(file for pattern in TEXT for file in folder.glob(pattern) for file in [file, *file.glob("*")])
    seen = [f"{f.relative_to(folder)}:{f.stat().st_size}:{f.stat().st_mtime_ns}" for f in files if f.is_file()]
    every = "\n".join([card.family, card.hub, card.revision, str(card.text_tokens), str(dtype), *seen])
    return hashlib.sha256(every.encode()).hexdigest()[:24]
