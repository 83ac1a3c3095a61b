"""A head with all that it takes to use it: what it reads, of which backbone, for which words.

Kept as the hub keeps models, without the backbone:

    DIR/model.safetensors   the head's weights
    DIR/config.json         the constructor's arguments
    DIR/README.md           a model card
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import CorruptWeights, UserError, WeightsUnavailable
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.head import HeadInput
from ca_seg.heads.registry import head_class
from ca_seg.resources import resource_path
from ca_seg.vocabulary import Vocabulary

CARD = """---
library_name: ca-seg
tags: [image-segmentation, concept-attention]
---

# A segmentation head on the frozen backbone `{backbone}`

Kind `{kind}`, {classes} classes, {parameters:,} parameters. It holds no weight of the backbone.

```python
import ca_seg
from ca_seg.heads.trained import load_head

backbone = ca_seg.load_backbone("{backbone}")
head = load_head("DIR or REPOSITORY", backbone="{backbone}")
mask = head.segment(backbone, image)    # [B, H, W] class indices, of head.vocabulary.classes
```
"""


class TrainedHead(nn.Module, PyTorchModelHubMixin, library_name="ca-seg", tags=["image-segmentation"]):
    """`save_pretrained`, `from_pretrained` and `push_to_hub` are the hub's own; `load_head` checks what it finds.

    kind      a name from `registry.py`, built with `options`
    backbone  the name of the source whose features it reads
    classes   names; `phrases` are the words that the backbone is asked for each
    channels  of the features; the last `maps` of them are zero-shot maps; `stride` pixels to a token
    parts     of the features, and `reading` how the backbone is read (both as in `FrozenFeatures`)
    """

    def __init__(
        self,
        *,
        kind: str,
        backbone: str,
        classes: list[str],
        phrases: list[list[str]],
        channels: int,
        maps: int = 0,
        stride: int = 16,
        parts: list[str] | None = None,
        readout: dict[str, Any] | None = None,
        resolution: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.backbone, self.resolution = kind, backbone, resolution
        self.parts, self.readout = list(parts or []), dict(readout or {})
        self.vocabulary = Vocabulary(tuple(classes), tuple(tuple(own) for own in phrases))
        self.head = head_class(kind)(HeadInput(channels, len(classes), maps, stride), **(options or {}))

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Features [B, channels, h, w] to logits [B, K, H, W] of an image of H x W pixels."""
        return self.head(features, size)

    def features_of(self, backbone: Backbone) -> FrozenFeatures:
        """The source that it was trained on. Raises CorruptWeights for another backbone."""
        self.check_backbone(backbone.card.name)
        readout = ReadoutConfig.from_plain(self.readout)
        source = FrozenFeatures(backbone, self.vocabulary, parts=self.parts, readout=readout)
        if source.channels != self.head.given.channels:
            raise CorruptWeights(
                f"the head reads {self.head.given.channels} channels, {self.backbone} gives {source.channels}"
            )
        return source

    @torch.no_grad()
    def segment(self, backbone: Backbone, images: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
        """Images [B, 3, H, W] in 0..1 to class indices [B, H, W]."""
        features = self.features_of(backbone)(images, [seed] * len(images))
        return self.eval()(features, (images.shape[-2], images.shape[-1])).argmax(dim=1)

    def check_backbone(self, name: str) -> None:
        if name != self.backbone:
            raise CorruptWeights(
                f"the head was trained on the backbone {self.backbone!r}, not on {name!r}",
                fix=f"take --model.backbone {self.backbone}",
            )

    def class_indices(self, classes: Sequence[str]) -> list[int]:
        """Where these classes stand among the head's. Raises UserError, listing those that it lacks."""
        known = self.vocabulary.classes
        lacking = [name for name in classes if name not in known]
        if lacking:
            raise UserError(
                f"the head does not know {len(lacking)} of the {len(classes)} classes: {', '.join(lacking[:5])}",
                allowed=", ".join(known[:40]) + (" ..." if len(known) > 40 else ""),
                fix="train a head on these classes",
            )
        return [known.index(name) for name in classes]

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """The hub mixin calls it for the README of what it saves."""
        parameters = sum(p.numel() for p in self.parameters())
        words = len(self.vocabulary.classes)
        return ModelCard(CARD.format(backbone=self.backbone, kind=self.kind, classes=words, parameters=parameters))


def load_head(where: str | Path, *, backbone: str | None = None) -> TrainedHead:
    """The head in a folder, one that ships (checkpoints/heads/NAME), or in a repository of the hub, in eval mode.

    Raises WeightsUnavailable when it is not there, CorruptWeights when it cannot be read or is of another backbone than
    `backbone` (None: any).
    """
    folder = Path(where)
    if not folder.exists() and folder.parts[:1] == ("checkpoints",):
        folder = resource_path(*folder.parts)  # those that ship, from any folder
    head = _from_folder(folder) if folder.exists() else _from_hub(str(where))
    if backbone is not None:
        head.check_backbone(backbone)
    return head.eval()


def _from_folder(folder: Path) -> TrainedHead:
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise WeightsUnavailable(f"no {folder / name}", fix="train a head with train.py: it writes OUT/head")
    try:
        head = TrainedHead(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        head.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as problem:
        raise CorruptWeights(f"the head in {folder} cannot be read ({str(problem).splitlines()[0]})") from problem
    return head


def _from_hub(repository: str) -> TrainedHead:
    try:
        return TrainedHead.from_pretrained(repository)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as problem:
        raise WeightsUnavailable(
            f"there is no head {repository} ({str(problem).splitlines()[0]})",
            fix="give a folder that train.py wrote, or a repository of the hub",
        ) from problem
    except (SafetensorError, RuntimeError, TypeError) as problem:
        raise CorruptWeights(f"the head {repository} cannot be read ({str(problem).splitlines()[0]})") from problem
