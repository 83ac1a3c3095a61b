"""What a map costs in operations and memory traffic: computed from the published architecture, before it is loaded.

    encode    the autoencoder, for one image
    stock     the whole transformer, as in one step of the stock pipeline
    record    the transformer up to the last layer that maps read
    ask       words, on a recorded image

The model is built without memory (on torch's meta device), the real code runs on it, and the shapes of its linear
layers, attentions and convolutions are counted. Nothing is measured. `gpus.py` says how fast a GPU can be at best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import diffusers
import torch

from ca_seg.backbones.ask_pass import AskPass
from ca_seg.backbones.cost.operations import OperationCounter, Operations
from ca_seg.backbones.families.base import Family, TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.loading.plan import read_part
from ca_seg.backbones.loading.profiles import Profile, find_profile
from ca_seg.backbones.record_pass import RecordPass
from ca_seg.concept.ask import Layout
from ca_seg.concept.grid import Grid
from ca_seg.concept.linears import Modulation
from ca_seg.concept.record import Stream
from ca_seg.errors import OutOfRange, UserError

# the families' names for it
TEXT_WIDTHS = ("joint_attention_dim", "text_embed_dim", "cap_feat_dim", "text_in_dim", "text_hidden_dim")


@dataclass(frozen=True)
class MapCost:
    """The operations of every pass over one image, with one noise sample at one timestep."""

    card: Card
    profile: Profile
    encode: Operations
    stock: Operations
    record: Operations
    passes: MetaPasses

    def ask(self, words: int) -> Operations:
        """The first ask of a recording; later ones leave out its modulation. Raises OutOfRange."""
        if words < 1:
            raise OutOfRange(f"{words} words", allowed="1 or more")
        return self.passes.ask(words)

    def maps(self, words: int, images: int = 1) -> Operations:
        """Encode, record and ask, for a batch of images."""
        return (self.encode + self.record + self.ask(words)).of_batch(images)


def map_cost(
    name: str, *, precision: str = "bf16", last_layer: int | None = None, resolution: int | None = None
) -> MapCost:
    """The cost of the backbone `name`, from its card.

    Args:
        name: a name from `list_backbones()`
        precision: a name from `profiles.PROFILES`; weights that are quantised are computed in bf16
        last_layer: the last layer that is recorded (default: the card's last layer)
        resolution: pixels of the short side of a square image (default: the card's)

    Raises:
        UnknownName: for an unknown backbone or precision
        OutOfRange: for a layer or resolution out of range
        UserError: for a backbone that ships with its weights, or whose shapes depend on the text

    Example:
        >>> cost = map_cost("flux1-dev")
        >>> cost.record.flops / cost.stock.flops, cost.ask(21).flops / cost.record.flops
    """
    card, profile = find_card(name).with_resolution(resolution), find_profile(precision)
    if not card.architecture:
        raise UserError(f"{name} ships with its weights and has no architecture on its card", fix="name a large model")
    family = find_family(card.family)
    part = read_part(card.parts["vae"])
    with torch.device("meta"):
        autoencoder = getattr(diffusers, part["class"]).from_config(part["config"])
    transformer = build(family, card.architecture, tables=False)
    if last_layer is not None:
        layers = len(family.blocks(transformer))
        if not 0 <= last_layer < layers:
            raise OutOfRange(f"last_layer {last_layer}", allowed=f"0 to {layers - 1}")
        card = replace(card, layers=(last_layer,))
    return cost_of(card, family, transformer, autoencoder, profile)


@torch.no_grad()
def cost_of(
    card: Card,
    family: Family,
    transformer: Any,
    autoencoder: Any,
    profile: Profile,
    size: tuple[int, int] | None = None,
) -> MapCost:
    """The cost of a model that is on the meta device.

    Args:
        card: its settings: layers, resolution, text tokens
        family, transformer, autoencoder: the model
        profile: the precision
        size: height and width of an image (default: a square in the card's resolution)

    Raises UserError for a family whose shapes depend on the text (HunyuanImage, HunyuanVideo 1.5, Lumina-Image), and
    for ERNIE-Image and Mochi, whose positions are computed in a way that needs numbers.
    """
    image = torch.zeros(1, 3, *(size or (card.resolution, card.resolution)), device="meta")
    encoding = OperationCounter(profile.dtype.itemsize, profile.dtype.itemsize)  # it is not quantised
    with encoding:
        latents = family.encode(autoencoder, image[:, :, None] if family.video else image)
    passes = MetaPasses.of(card, family, transformer, latents.shape, profile)
    try:
        return MapCost(card, profile, encoding.counted, passes.stock(), passes.recorded[0], passes)
    except RuntimeError as problem:  # NotImplementedError among them
        reason = "the shapes inside its transformer depend on the text, or its code needs numbers"
        raise UserError(f"the cost of {card.name} cannot be computed: {reason}") from problem


@dataclass(frozen=True)
class MetaPasses:
    """The passes of a transformer on the meta device over one image."""

    card: Card
    family: Family
    transformer: Any
    inputs: dict[str, Any]  # the transformer's arguments, not on the meta device
    grid: Grid
    profile: Profile

    @classmethod
    def of(cls, card: Card, family: Family, transformer: Any, latents: torch.Size, profile: Profile) -> MetaPasses:
        """For an image whose latents have a shape."""
        text = _text(transformer, card.text_tokens)
        inputs = family.inputs(transformer, torch.zeros(latents), text, torch.tensor([0.5]), card.guidance)
        return cls(card, family, transformer, inputs, family.grid(transformer, inputs), profile)

    def counter(self) -> OperationCounter:
        return OperationCounter(self.profile.linear_bytes, self.profile.dtype.itemsize)

    def stock(self) -> Operations:
        """The whole forward pass."""
        with torch.no_grad(), self.counter() as counter:
            self.transformer(**on_meta(self.inputs))
        return counter.counted

    @cached_property
    def recorded(self) -> tuple[Operations, tuple[Stream, ...]]:
        """The pass up to the card's last layer, and its streams."""
        with torch.no_grad(), self.counter() as counter:
            passed = RecordPass(self.family, self.transformer, on_meta(self.inputs), self.grid, self.card.layers)
            recorded = passed.for_any_words(queries=False, prompt_tokens=None)
        return counter.counted, recorded.streams

    def ask(self, words: int) -> Operations:
        """A pass over so many words on the recorded image."""
        family, transformer, streams = self.family, self.transformer, self.recorded[1]
        call = family.concept_inputs(transformer, self.inputs)
        call = family.joined(call, family.text_inputs(transformer, _text(transformer, words), concepts=True))
        linears = family.ask_linears(transformer).reading(Modulation())
        layout = Layout(words, family.text_first, family.registers(transformer))
        with torch.no_grad(), self.counter() as counter:
            AskPass(family, transformer, on_meta(call), self.grid, layout, linears)(streams)
        return counter.counted


def on_meta(value: Any) -> Any:
    """Arguments of a transformer with every tensor on the meta device."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {key: on_meta(part) for key, part in value.items()}
    return type(value)(map(on_meta, value)) if isinstance(value, list | tuple) else value


def text_widths(transformer: Any) -> tuple[int, int | None]:
    """The width of a text token, and of the pooled vector (None: the family has none)."""
    config = transformer.config
    width = next(config[name] for name in TEXT_WIDTHS if name in config)
    layers = config.get("num_text_layers", 1)  # of the text encoder, side by side in one token (Krea 2)
    return int(width) * layers, config.get("pooled_projection_dim")


def _text(transformer: Any, tokens: int) -> TextTokens:
    width, pooled = text_widths(transformer)
    return TextTokens(torch.zeros(1, tokens, width), None if pooled is None else torch.zeros(1, pooled))
