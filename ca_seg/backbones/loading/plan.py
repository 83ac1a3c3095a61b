"""How much memory a backbone will take, before anything is loaded: from its published architecture.

1  text encoders   once per vocabulary, then freed      ┐
2  transformer     blocks 0 .. last layer               ├─ must fit on a GPU: the larger of 1 + 3 and 2 + 3 + 4
3  autoencoder                                          │  (activations come on top and are not counted)
4  recording       keys and values, outputs of an image ┘

Where the words are known beforehand, a recording has no keys and values. For readers of the prompt it has the image's
attention to each token of the prompt, on top.

A plain transformer is in main memory while words are encoded. A quantised one stays on the GPU: then it is 1 + 2 + 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import transformers
import yaml
from accelerate import init_empty_weights
from torch import nn

from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.loading.profiles import Profile, find_profile
from ca_seg.errors import OutOfRange, UnknownName, UserError

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """The parameters of one backbone, and their bytes at a precision."""

    card: Card
    profile: Profile
    resolution: int
    last_layer: int
    transformer: int  # parameters of the blocks that are loaded and of the parts around them
    transformer_bytes: int
    text: dict[str, int]  # bytes of each text encoder
    autoencoder_bytes: int
    recording_bytes: int  # of one square image, one noise sample at one timestep
    known_words_bytes: int  # of such a recording if the words are known beforehand
    tokens: int  # of the image
    heads: int

    @property
    def peak_bytes(self) -> int:
        """The larger of the two steps: encoding words, computing maps."""
        beside = self.autoencoder_bytes + (self.transformer_bytes if self.profile.quantised else 0)
        maps = self.transformer_bytes + self.autoencoder_bytes + self.recording_bytes
        return max(sum(self.text.values()) + beside, maps)

    def prompt_attention_bytes(self, prompt_tokens: int) -> int:
        """What a recording for readers of the prompt holds on top, for a prompt of so many tokens."""
        return prompt_attention_bytes(self.tokens, prompt_tokens, heads=self.heads, layers=self.last_layer + 1)


def plan(name: str, *, precision: str = "bf16", last_layer: int | None = None, resolution: int | None = None) -> Plan:
    """The memory of the backbone `name`.

    Args:
        name: a name from `list_backbones()`
        precision: a name from `profiles.PROFILES`
        last_layer: the last block to load (default: the card's last layer)
        resolution: pixels of the short side (default: the card's)

    Raises:
        UnknownName: for an unknown backbone or precision
        OutOfRange: for a layer or resolution out of range
        UserError: for a backbone that ships with its weights

    Example:
        >>> round(plan("flux1-dev", precision="bnb-nf4").peak_bytes / GIB)
        12
    """
    card, profile = find_card(name), find_profile(precision)
    if not card.architecture:
        raise UserError(f"{name} ships with its weights and has no plan", fix="`ca-seg zoo show` prints its memory")
    last = max(card.layers) if last_layer is None else last_layer
    side = card.resolution if resolution is None else resolution
    if side < card.multiple:
        raise OutOfRange(f"resolution {side}", allowed=f"{card.multiple} pixels or more")
    linear, other, width, heads = _counts(name, last)
    sizes = {folder: part_parameters(part) for folder, part in card.parts.items()}
    size = profile.dtype.itemsize
    tokens = round(side / card.multiple) ** 2
    read = sum(layer <= last for layer in card.layers) or 1
    return Plan(
        card,
        profile,
        side,
        last,
        linear + other,
        round(linear * profile.linear_bytes + other * profile.dtype.itemsize),
        {folder: count * size for folder, count in sizes.items() if folder.startswith("text_encoder")},
        sizes["vae"] * size,
        recording_bytes(tokens, width, layers=last + 1, read=read, size=size),
        recording_bytes(tokens, width, layers=0, read=read, size=size),
        tokens,
        heads,
    )


def recording_bytes(tokens: int, width: int, *, layers: int, read: int, size: int) -> int:
    """Bytes of the recording of one image.

    Args:
        tokens: of the image
        width: channels of all heads together
        layers: how many keep their keys and values; 0 where the words are known beforehand
        read: how many layers' outputs maps read
        size: bytes of a number
    """
    return (2 * layers + read) * tokens * width * size


def prompt_attention_bytes(tokens: int, prompt_tokens: int, *, heads: int, layers: int) -> int:
    """Bytes of the attention of one image to its prompt, in fp32.

    Args:
        tokens: of the image
        prompt_tokens: those of the prompt up to its last word
        heads: of an attention
        layers: how many are recorded
    """
    return 4 * layers * heads * tokens * (prompt_tokens + 1)  # 1: the share of the image's own tokens


def part_names() -> list[str]:
    """The text encoders and autoencoders that cards name."""
    return sorted(file.stem for file in _parts().glob("*.yaml"))


def part_parameters(name: str, *, count: bool = False) -> int:
    """Parameters of a text encoder or autoencoder, from its file; with `count`, counted in the model of its config."""
    part = read_part(name)
    return _counted(part) if count else int(part["parameters"])


def read_part(name: str) -> dict[str, Any]:
    """The file of a text encoder or autoencoder: its class, config and parameters. Raises UnknownName."""
    if name not in part_names():
        raise UnknownName("part", name, part_names())
    part: dict[str, Any] = yaml.safe_load((_parts() / f"{name}.yaml").read_text(encoding="utf-8"))
    return part


def _counted(part: dict[str, Any]) -> int:
    with init_empty_weights():
        if part["library"] == "diffusers":
            model = getattr(diffusers, part["class"]).from_config(part["config"])
        else:
            model_class = getattr(transformers, part["class"])
            model = model_class(model_class.config_class(**part["config"]))
    if part["library"] == "transformers":
        model.tie_weights()
    return sum(p.numel() for p in model.parameters())


@cache
def _counts(name: str, last_layer: int) -> tuple[int, int, int, int]:
    """Of the blocks 0 .. `last_layer` and around them: weights of linear layers, other parameters; width and heads."""
    card = find_card(name)
    family = find_family(card.family)
    transformer = build(family, card.architecture, last_layer + 1, tables=False)
    linear = sum(m.weight.numel() for m in transformer.modules() if isinstance(m, nn.Linear))
    total = sum(p.numel() for p in transformer.parameters())
    attention: Any = family.attentions(transformer)[0]
    return linear, total - linear, _width(attention), _heads(attention)


def _width(attention: Any) -> int:
    """Channels of all heads of an attention together."""
    projection = getattr(attention, "to_q", None)
    return int(attention.inner_dim if projection is None else projection.out_features)


def _heads(attention: Any) -> int:
    """How many heads an attention's queries have; diffusers has two names for it."""
    return int(attention.num_heads if hasattr(attention, "num_heads") else attention.heads)


def _parts() -> Path:
    return Path(str(files("ca_seg.backbones.loading"))) / "parts"
