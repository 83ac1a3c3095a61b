"""A trained head together with everything that is needed to use it: backbone, features, words.

It is saved as the Hugging Face hub saves models, without the backbone:

    DIR/model.safetensors   the head's weights
    DIR/config.json         the constructor's arguments
    DIR/README.md           a model card
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError
from torch import nn

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import Images, as_tensor
from ca_seg.backbones.loading.card import POOLING
from ca_seg.backbones.other_card import with_card
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import CorruptWeights, UnknownName, UserError, WeightsUnavailable
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.head import HeadInput
from ca_seg.heads.head_folder import read_head_folder
from ca_seg.heads.registry import head_class
from ca_seg.pretrained import NO_CONNECTION, hub_answers
from ca_seg.resources import resource_path
from ca_seg.vocabulary import Vocabulary

SHIPPED = ("checkpoints", "heads")
CARD = """---
library_name: ca-seg
tags: [image-segmentation, concept-attention]
---

# A segmentation head for the frozen backbone `{backbone}`

Kind: `{kind}`. {classes} classes, {parameters:,} trained parameters. The weights of the backbone are not included.

```python
import ca_seg

backbone = ca_seg.load_backbone("{backbone}")
head = ca_seg.load_head("FOLDER or REPOSITORY", backbone="{backbone}")
mask = head.segment(backbone, image)  # [B, H, W]: indices into head.vocabulary.classes
```
"""


class TrainedHead(nn.Module, PyTorchModelHubMixin, library_name="ca-seg", tags=["image-segmentation"]):
    """A head, the words it knows, and how its features are read.

    `save_pretrained`, `from_pretrained` and `push_to_hub` are the hub's own; `load_head` also checks what it loads.

    Args:
        kind: a name from `head_kinds()`
        backbone: the name of the source whose features it reads
        classes: names of the K classes
        phrases: the words that the backbone is asked for, a list for each class
        channels: of the features
        maps: how many of the last channels are zero-shot class maps
        stride: pixels per token
        parts: of the features, as in `FrozenFeatures`
        readout: how the backbone is read, as `ReadoutConfig.plain` returns it
        resolution: pixels of the short side at which the backbone is read; None: as it is loaded
        phrase_pooling: the token that represents a phrase: first, mean or last; None: as the backbone is loaded
        options: keyword arguments of the head's class
        reading: the former name of `readout`, in heads that were saved before version 0.2

    Raises:
        UnknownName: for an unknown kind or phrase pooling
        UserError: for options or words that cannot be used
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
        phrase_pooling: str | None = None,
        options: dict[str, Any] | None = None,
        reading: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if phrase_pooling is not None and phrase_pooling not in POOLING:
            raise UnknownName("phrase pooling", phrase_pooling, POOLING)
        self.kind, self.backbone = kind, backbone
        self.resolution, self.phrase_pooling = resolution, phrase_pooling
        self.parts = list(parts or [])
        self.readout = ReadoutConfig.from_plain(readout or reading or {}).plain()
        if isinstance(self._hub_mixin_config, dict):  # what `save_pretrained` writes to config.json
            self._hub_mixin_config.pop("reading", None)
            self._hub_mixin_config["readout"] = self.readout
        self.vocabulary = Vocabulary(tuple(classes), tuple(tuple(words) for words in phrases))
        self.head = head_class(kind)(HeadInput(channels, len(classes), maps, stride), **(options or {}))

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Features [B, channels, h, w] to logits [B, K, H, W] of an image of H x W pixels.

        Raises CorruptWeights, in eval mode, for logits that are not numbers.
        """
        logits = self.head(features, size)
        if not self.training and logits.sum().isnan():  # one pass, and no mask of the size of the logits
            raise CorruptWeights("the head gives values that are not numbers", fix="train it again")
        return logits

    def features_of(self, backbone: Backbone) -> FrozenFeatures:
        """The feature source that it was trained on, at its resolution and phrase pooling.

        Raises CorruptWeights for another backbone.
        """
        self.check_backbone(backbone.card.name)
        card = backbone.card.with_resolution(self.resolution).with_pooling(self.phrase_pooling)
        readout = ReadoutConfig.from_plain(self.readout)
        source = FrozenFeatures(with_card(backbone, card), self.vocabulary, parts=self.parts, readout=readout)
        if source.channels != self.head.spec.channels:
            raise CorruptWeights(
                f"the head reads {self.head.spec.channels} channels, {self.backbone} gives {source.channels}"
            )
        return source

    @torch.no_grad()
    def segment(self, backbone: Backbone, images: Images, *, seed: int = 0) -> torch.Tensor:
        """Segment images of one size.

        Args:
            backbone: the one that the head was trained on; it is read at the head's resolution and phrase pooling
            images: a PIL image, an array [H, W, 3] uint8, a tensor [B, 3, H, W] or [3, H, W] in 0..1, or a list of them
            seed: of the noise

        Returns:
            int64 [B, H, W], indices into `vocabulary.classes`

        Raises:
            CorruptWeights: for another backbone
            UserError: for something that is not an image

        Example:
            >>> backbone = ca_seg.load_backbone("mini")
            >>> mask = ca_seg.load_head("mini-scenes-linear").segment(backbone, Image.open("scene.png"))[0]
        """
        batch = as_tensor(images)
        features = self.features_of(backbone)(batch, [seed] * len(batch))
        return self.eval()(features, (batch.shape[-2], batch.shape[-1])).argmax(dim=1)

    def check_backbone(self, name: str) -> None:
        """Raises CorruptWeights for another backbone than the one that it was trained on."""
        if name != self.backbone:
            raise CorruptWeights(
                f"the head was trained on the backbone {self.backbone!r}, not on {name!r}",
                fix=f"use the backbone {self.backbone!r}",
            )

    def class_indices(self, classes: Sequence[str]) -> list[int]:
        """The indices of these classes among the head's. Raises UserError, with a list of those that it lacks."""
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
        """The README of a saved head; the hub mixin calls it."""
        parameters = sum(p.numel() for p in self.parameters())
        count = len(self.vocabulary.classes)
        return ModelCard(CARD.format(backbone=self.backbone, kind=self.kind, classes=count, parameters=parameters))


def list_heads() -> list[str]:
    """The names of the trained heads that ship, for `load_head`.

    Example:
        >>> list_heads()
        ['mini-scenes-linear', 'mini-scenes-upsampling']
    """
    return sorted(folder.name for folder in resource_path(*SHIPPED).iterdir() if (folder / "config.json").is_file())


def load_head(where: str | Path, *, backbone: str | None = None) -> TrainedHead:
    """A trained head, in eval mode.

    Args:
        where: a folder that training wrote, a name from `list_heads()` (with or without checkpoints/heads/ before it),
            or a repository of the Hugging Face hub
        backbone: the name of the backbone that it must be for; None: any

    Returns:
        The head, with the words it knows and how its features are read.

    Raises:
        WeightsUnavailable: there is no such head
        CorruptWeights: it cannot be read, or is for another backbone

    Example:
        >>> head = ca_seg.load_head("mini-scenes-linear", backbone="mini")
    """
    if not isinstance(where, str | Path):
        raise WeightsUnavailable(f"the head is {where!r}", allowed=f"{', '.join(list_heads())}, or a folder")
    folder = Path(where)
    if not folder.exists():
        if folder.parts[:2] == SHIPPED:
            folder = resource_path(*folder.parts)
        elif len(folder.parts) == 1 and folder.name in list_heads():
            folder = resource_path(*SHIPPED, folder.name)
    if not folder.exists() and len(folder.parts) != 2:  # the hub's names are OWNER/NAME
        allowed = f"{', '.join(list_heads())}, a folder that training wrote, or a repository of the hub (OWNER/NAME)"
        raise WeightsUnavailable(f"there is no head {where}", allowed=allowed)
    head = read_head_folder(folder, TrainedHead) if folder.exists() else _from_hub(str(where))
    if backbone is not None:
        head.check_backbone(backbone)
    return head.eval()


def _from_hub(repository: str) -> TrainedHead:
    answers = hub_answers()
    try:
        return TrainedHead.from_pretrained(repository, local_files_only=not answers)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as problem:
        reason = str(problem).splitlines()[0] if answers else NO_CONNECTION
        raise WeightsUnavailable(
            f"there is no head {repository} ({reason})",
            allowed=f"{', '.join(list_heads())}, a folder that training wrote, or a repository of the hub",
        ) from problem
    except (SafetensorError, RuntimeError, TypeError, ValueError) as problem:
        raise CorruptWeights(f"the head {repository} cannot be read ({str(problem).splitlines()[0]})") from problem
