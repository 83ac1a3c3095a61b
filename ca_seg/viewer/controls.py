"""The page's controls as the settings of `segment`. A control at the value of the backbone's card is left out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.readout import PRODUCTS, ReadoutConfig
from ca_seg.concept.choices import ALL, PROMPT_READERS
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.refine.steps import NONE, list_refinements
from ca_seg.viewer.limits import parse_words

REFINEMENTS = tuple(name for name in list_refinements() if name != "background")  # that one needs a class beside it
PRECISIONS = ("default", "fp32", "bf16", "fp16", "bnb-nf4", "bnb-int8", "ao-int8", "ao-fp8")


@dataclass(frozen=True)
class Controls:
    """What the page's controls say.

    Args:
        backbone: a name of the zoo
        precision: of its weights; "default" for the backbone's own
        background: words for everything else, separated by commas; "" for none
        threshold: 0 to 1; 0 is no threshold
        layers: the joint attentions that maps read; none: those of the card
        timestep: the noise level, 0 to 1
        space: output, cross-attention or value
        reader: concepts, or another of READERS
        softmax: probabilities, or raw products
        refine: the steps that sharpen the mask
    """

    backbone: str
    precision: str = "default"
    background: str = ""
    threshold: float = 0.0
    layers: tuple[int, ...] = ()
    timestep: float | None = None
    space: str | None = None
    reader: str = "concepts"
    softmax: bool = True
    refine: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: SegmentSettings) -> Controls:
        """What the controls show for settings; several timesteps are shown as the card's one."""
        card, times = find_card(settings.backbone), settings.timesteps or ()
        return cls(
            backbone=settings.backbone,
            precision=settings.precision or "default",
            background=", ".join(settings.background or ()),
            threshold=settings.threshold or 0.0,
            layers=settings.layers or card.layers,
            timestep=times[0] if len(times) == 1 else card.timestep,
            space=settings.space or card.space,
            reader=settings.reader,
            softmax=settings.softmax,
            refine=tuple(settings.refinement_steps().steps or ()),
        )

    def settings(self, start: SegmentSettings, max_words: int) -> SegmentSettings:
        """The settings of `segment`; what has no control is as it was at the start.

        Raises:
            UnknownName: for an unknown backbone, space or reader
            OutOfRange: for a timestep or threshold out of range
            UserError: for too many background words
        """
        card = find_card(self.backbone)
        background = parse_words(self.background, max_words)
        for name, value in (("timestep", self.timestep), ("threshold", self.threshold)):
            if value is not None and not 0 <= value <= 1:
                raise OutOfRange(f"the {name} is {value:g}", allowed="0 to 1")
        layers = tuple(sorted(self.layers))
        if any(layer != int(layer) or layer < 0 for layer in layers):
            raise UserError(f"the layers {', '.join(map(str, layers))}", allowed="whole numbers from 0")
        chosen: dict[str, Any] = {
            "backbone": self.backbone,
            "precision": None if self.precision == "default" else self.precision,
            "background": background or None,
            "threshold": self.threshold or None,
            "layers": None if layers in ((), tuple(sorted(card.layers))) else layers,
            "space": None if self.space == card.space else self.space,
            "reader": self.reader,
            "softmax": self.softmax,
            "refine": None if tuple(self.refine) == card.refine else tuple(self.refine) or (NONE,),
        }
        if self.timestep is not None and (start.timesteps is None or len(start.timesteps) == 1):
            chosen["timesteps"] = None if self.timestep == card.timestep else (self.timestep,)
        if self.reader != "concepts":  # these have no such choices
            chosen |= {field.name: field.default for field in fields(ReadoutConfig) if field.name in PRODUCTS}
            if self.reader in PROMPT_READERS:
                chosen["prompt"] = ALL
        if self.backbone != start.backbone:
            chosen |= dict.fromkeys(("weights", "gguf", "resolution", "phrase_pooling", "layer_weights"))
        return replace(plain_settings(start), **chosen)


def plain_settings(settings: SegmentSettings) -> SegmentSettings:
    """The settings of `segment` in those of the viewer, with the preset's options and the named steps written out."""
    filled = settings.with_preset()
    values = {field.name: getattr(filled, field.name) for field in fields(SegmentSettings)}
    if filled.refine is None and filled.refinement.steps is not None:
        values["refine"] = tuple(filled.refinement.steps)
    return SegmentSettings(**(values | {"preset": None, "refinement": replace(filled.refinement, steps=None)}))
