"""The parts of a backbone, each read from where it is: a folder, a GGUF file, random numbers.

folder/transformer  ┐
FILE.gguf           ├──► transformer ┐
random numbers      ┘                │
folder/vae          ───► autoencoder ├──► Backbone
folder/text_encoder ───► text        │
folder/scheduler    ───► scheduler   ┘
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import Family
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.folder_parts import (
    TEXT_FILES,
    read_autoencoder,
    read_config,
    read_model,
    read_scheduler,
    text_pipeline,
)
from ca_seg.backbones.loading.hub import cache_folder, weights_folder
from ca_seg.backbones.loading.partial import build, skip_later_blocks
from ca_seg.backbones.loading.profiles import Profile, offloaded, read_gguf, read_quantised
from ca_seg.backbones.loading.random_init import random_init
from ca_seg.backbones.text.encoder import TextEncoder
from ca_seg.backbones.text.pipeline_text import PipelineText
from ca_seg.backbones.text.word_list import shipped_text
from ca_seg.errors import WeightsUnavailable


@dataclass(frozen=True)
class PartReader:
    """Reads the parts of one card's backbone. Every method raises WeightsUnavailable or CorruptWeights."""

    card: Card
    family: Family
    folder: Path  # in the diffusers layout
    profile: Profile  # the precision
    device: str  # where the parts go
    offload: bool  # the transformer stays in main memory
    keep_layers: int | None  # the number of blocks to load; None: all

    def transformer(self) -> nn.Module:
        """From the folder's safetensors, quantised where the precision says so."""
        part = self.folder / "transformer"
        config = read_config(part / "config.json")
        class_name = str(config.get("_class_name", self.family.transformer))
        if class_name != self.family.transformer:
            raise WeightsUnavailable(
                f"{part / 'config.json'} describes a {class_name}", allowed=self.family.transformer
            )
        model = build(self.family, config, self.keep_layers)
        return read_quantised(model, part, self.profile, "cpu" if self.offload else self.device)

    def gguf_transformer(self, file: Path) -> nn.Module:
        """From a GGUF file; the folder's config.json describes the architecture. Raises UserError without GGUF."""
        transformer = read_gguf(self.family, file, self.folder, self.profile.dtype)
        return (
            transformer if self.keep_layers is None else skip_later_blocks(self.family, transformer, self.keep_layers)
        )

    def random_transformer(self, seed: int) -> nn.Module:
        """With random weights; the folder's config.json describes the architecture."""
        config = read_config(self.folder / "transformer" / "config.json")
        transformer = random_init(self.family, config, self.keep_layers, seed)
        return transformer if self.profile.dtype == torch.float32 else transformer.to(self.profile.dtype)

    def autoencoder(self) -> nn.Module:
        """From the folder, or that of another shipped backbone. Shipped backbones have one of this project's."""
        if self.card.autoencoder == "pipeline":
            return read_autoencoder(self.folder, self.profile.dtype)
        folder, shared = self.folder / "vae", self.card.autoencoder_of
        if shared and not folder.exists():
            folder = self.folder.parent / find_card(shared).folder / "vae"
        return read_model(shipped_codec(self.card.autoencoder), folder, self.profile.dtype)

    def scheduler(self) -> Any:
        """From the folder; None if there is none."""
        return read_scheduler(self.folder)

    def on_device(self, transformer: nn.Module) -> nn.Module:
        """The transformer on the device, or prepared to be moved there block by block."""
        return offloaded(transformer, self.device) if self.offload else transformer.to(self.device)

    def text(self, transformer: nn.Module, *, make_room: bool) -> TextEncoder:
        """The text encoders, read for new words; with `make_room` the transformer is in main memory meanwhile."""
        shipped = shipped_text(self.card)
        if shipped is not None:
            return shipped
        load = partial(text_pipeline, self.family, self.folder, self.profile.dtype, self.device)
        cache = cache_folder() / "words" / text_fingerprint(self.card, self.folder, self.profile.dtype)
        room = partial(moved_to_cpu, transformer, self.device) if make_room else nullcontext
        return PipelineText(self.family, load, self.card.text_tokens, cache=cache, room=room)


def shipped_codec(name: str) -> Any:
    """The class of an autoencoder of this project. Imported here, because it imports diffusers' models."""
    if name == "pixel-codec":
        from ca_seg.backbones.pixel_codec import PixelCodec

        return PixelCodec
    from ca_seg.backbones.feature_codec import FeatureCodec

    return FeatureCodec


def find_folder(
    card: Card, weights: str | Path | None, *, transformer: bool, autoencoder: bool, text: bool, gguf: bool
) -> Path | None:
    """The folder with the parts that must be read; None if no part must. Only their files are downloaded."""
    patterns: list[str] = []
    if transformer:
        patterns.append("transformer/config.json" if gguf else "transformer/*")
    if autoencoder:
        patterns.append("vae/*")
    if text:
        patterns += [f"{name}/*" if name.endswith("*") else name for name in TEXT_FILES]
    if not patterns:
        return None
    return weights_folder(card, None if weights is None else Path(weights), [*patterns, "scheduler/*"])


@contextmanager
def moved_to_cpu(transformer: nn.Module, device: str) -> Iterator[None]:
    """The transformer in main memory, afterwards back on `device`."""
    transformer.to("cpu")
    try:
        yield
    finally:
        transformer.to(device)


def text_fingerprint(card: Card, folder: Path, dtype: torch.dtype) -> str:
    """Of the text encoders' files (names, sizes, times) and of everything else that changes a word's embedding."""
    files = sorted(file for pattern in TEXT_FILES for file in folder.glob(pattern) for file in [file, *file.glob("*")])
    stats = [f"{f.relative_to(folder)}:{f.stat().st_size}:{f.stat().st_mtime_ns}" for f in files if f.is_file()]
    content = "\n".join([card.family, card.hub, card.revision, str(card.text_tokens), str(dtype), *stats])
    return hashlib.sha256(content.encode()).hexdigest()[:24]
