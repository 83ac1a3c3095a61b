"""What a method is opened with. A new option is a field here, an argument of `ca_seg.method`, and a name on a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ca_seg.errors import UserError
from ca_seg.methods.card import MethodCard

if TYPE_CHECKING:
    from torch import nn

    from ca_seg.backbones.backbone import Backbone

OBJECTS = ("model", "pipeline", "backbone")  # the ready objects
Target = Literal["word", "predicted"]
LinearRule = Literal["reference", "conserving"]


@dataclass(frozen=True)
class MethodInputs:
    """The ready object, if there is one, and the options; None: not given.

    Args:
        model: a network (timm, transformers, open_clip)
        pipeline: a diffusers pipeline
        backbone: a backbone of the zoo by name, or loaded
        tokenizer: of `model`, for methods that read words
        device: where to compute
        resolution: pixels of the side that images are resized to
        class_names: the classes of `model`, in the order of its outputs
        target: which class a network's relevance is of: the "word" asked, or the class that it "predicted"
        start_layer: the first block that counts in a product over blocks
        lrp_rule: how a linear layer passes relevance on: "reference" (the authors' code) or "conserving"
        weights: a file with published weights, of methods whose weights are on no hub
        templates: sentences that words are put into, each with one {}, or "imagenet" for the 80 of CLIP's authors
        guide: a second network, whose features guide the attention of `model`
        prompt: what a backbone reads beside the image
        captioner: the weights of a captioner, for the prompt "captioner"
    """

    model: nn.Module | None = None
    pipeline: Any = None
    backbone: str | Backbone | None = None
    tokenizer: Any = None
    device: str = "cpu"
    resolution: int | None = None
    class_names: Sequence[str] | None = None
    target: Target | None = None
    start_layer: int | None = None
    lrp_rule: LinearRule | None = None
    weights: str | Path | None = None
    templates: str | Sequence[str] | None = None
    guide: nn.Module | None = None
    prompt: str | None = None
    captioner: str | None = None

    def check(self, card: MethodCard) -> None:
        """Raises UserError for a ready object or an option that the method of the card does not take."""
        for field in fields(self):
            name = field.name
            if name == "device" or getattr(self, name) is None or name == card.takes or name in card.options:
                continue
            allowed = ", ".join((*([card.takes] if card.takes else []), *card.options, "device"))
            raise UserError(f"the method {card.name!r} takes no {name}", allowed=allowed)
