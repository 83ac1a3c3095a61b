"""A card: everything about one set of weights, in one YAML file.

`ca_seg/backbones/loading/cards/NAME.yaml` names the family, where the weights are and at which revision, their licence,
and the settings with which maps are read (layers, timestep, noise samples, resolution). Cards need no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ca_seg.concept.choices import SPACES
from ca_seg.errors import OutOfRange, UnknownName, UserError

POOLING = ("first", "mean", "last")
AUTOENCODERS = ("pipeline", "pixel-codec", "feature-codec")
# a file of reference words below checkpoints/; the lowest presence of a likely word; figures, and what they are of
PRESENCE = ("reference_words", "threshold", "measured")


@dataclass(frozen=True)
class Card:
    """One backbone's weights and settings. A field that does not apply is empty."""

    name: str
    summary: str
    family: str
    licence: str
    text: str  # the text side: "word-table", or "pipeline" (the stock pipeline's own encoders)
    layers: tuple[int, ...]  # layers that maps read
    timestep: float  # 0 = clean, 1 = noise
    resolution: int  # pixels of the short side; the other side follows the image
    multiple: int  # pixels per image token: sides are rounded to it
    parameters: int  # of the transformer
    noise_samples: int = 1  # noise samples per image
    space: str = "output"
    refine: tuple[str, ...] = ()  # steps between maps and mask that measured best; see ca_seg/refine/steps.py
    guidance: float = 0.0
    phrase_pooling: str = "first"  # which token of a phrase represents it: first, mean or last
    text_tokens: int = 512  # prompts are padded to so many tokens
    autoencoder: str = "pipeline"  # the stock pipeline's own; "pixel-codec" or "feature-codec" for shipped weights
    folder: str = ""  # shipped weights: a folder below checkpoints/
    autoencoder_of: str = ""  # shipped weights: the backbone whose autoencoder is read where the folder has none
    checksums: dict[str, str] = field(default_factory=dict)  # sha256 of the shipped files
    taught_words: str = ""  # a file below checkpoints/: the words that training taught, one a line
    presence: dict[str, Any] = field(default_factory=dict)  # how to tell whether words are in an image: PRESENCE
    hub: str = ""  # repository on the Hugging Face hub
    revision: str = ""  # commit of that repository
    gated: bool = False
    architecture: dict[str, Any] = field(default_factory=dict)  # the transformer's published constructor arguments
    parts: dict[str, str] = field(default_factory=dict)  # folder of the repository -> a file in parts/, for plans
    bf16_on_cpu: bool = False  # measured: the figures hold in bf16, so it is the default on CPUs that compute it
    memory: str = "not measured"
    trained: dict[str, Any] = field(default_factory=dict)  # data, objective, steps, seconds
    limits: str = ""

    def __post_init__(self) -> None:
        check_timestep(self.timestep)
        if self.space not in SPACES:
            raise UnknownName("space", self.space, SPACES)
        if self.autoencoder not in AUTOENCODERS:
            raise UnknownName("autoencoder", self.autoencoder, AUTOENCODERS)
        if self.phrase_pooling not in POOLING:
            raise UnknownName("phrase pooling", self.phrase_pooling, POOLING)
        if self.presence:
            self._check_presence()

    @classmethod
    def read(cls, path: Path) -> Card:
        """A card from its file. Raises UnknownName for an unknown key, UserError for a missing one."""
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(cls)}
        for key in content:
            if key not in known:
                raise UnknownName(f"key in {path}", key, known)
        for key in ("layers", "refine"):
            if key in content:
                content[key] = tuple(content[key])
        try:
            return cls(**content)
        except TypeError as problem:
            raise UserError(f"the card {path} is not complete: {problem}") from problem

    def with_resolution(self, resolution: int | None) -> Card:
        """The card with another resolution (None: the same). Raises OutOfRange."""
        if resolution is None or resolution == self.resolution:
            return self
        if not isinstance(resolution, int) or resolution < self.multiple:
            raise OutOfRange(f"resolution {resolution!r}", allowed=f"{self.multiple} pixels or more")
        return replace(self, resolution=resolution, presence={})

    def with_pooling(self, pooling: str | None) -> Card:
        """The card with another phrase pooling (None: the same). Raises UnknownName."""
        if pooling is None or pooling == self.phrase_pooling:
            return self
        return replace(self, phrase_pooling=pooling, presence={})

    def of_other_weights(self) -> Card:
        """The card for other weights of the same architecture: what was taught and measured does not hold for them."""
        return replace(self, taught_words="", presence={}, bf16_on_cpu=False)

    def _check_presence(self) -> None:
        for key in self.presence:
            if key not in PRESENCE:
                raise UnknownName(f"key in presence of the card {self.name}", key, PRESENCE)
        file, threshold = self.presence.get("reference_words"), self.presence.get("threshold")
        if not isinstance(file, str) or not isinstance(threshold, float) or not 0 < threshold < 1:
            raise UserError(
                f"the card {self.name} has the presence {self.presence}",
                allowed="reference_words: a file below checkpoints/, threshold: a number between 0 and 1",
                fix="`python -m recipes.presence` writes it",
            )


def check_timestep(timestep: float) -> None:
    if not 0.0 <= timestep <= 1.0:
        raise OutOfRange(f"timestep {timestep}", allowed="0 (clean) to 1 (noise)", fix="0.5 is the middle")


def list_backbones(pattern: str | None = None) -> list[str]:
    """The names of the backbones, in alphabetical order.

    Args:
        pattern: only names that match it; `*` is any text, as in file names

    Example:
        >>> list_backbones("sd3.5-large*")
        ['sd3.5-large', 'sd3.5-large-turbo']
    """
    names = sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))
    return names if pattern is None else [name for name in names if fnmatch(name, pattern)]


def find_card(name: str) -> Card:
    """The card called `name`. Raises UnknownName with the nearest names."""
    names = list_backbones()
    if name not in names:
        raise UnknownName("backbone", name, names, fix="`ca-seg zoo list` shows all")
    return Card.read(_folder() / f"{name}.yaml")


def _folder() -> Path:
    return Path(str(files("ca_seg.backbones.loading"))) / "cards"
