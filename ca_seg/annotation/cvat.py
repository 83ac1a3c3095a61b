"""An auto-annotation function of CVAT: words as masks or polygons.

    cvat-cli task auto-annotate 42 --function-module ca_seg.annotation.cvat -p words=str:cat,grass,sky

The module is what CVAT calls a function: it has `create`, which gives an object with `spec` (its labels) and `detect`.
(Interface: docs.cvat.ai, "Auto-annotation API".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ca_seg.annotation.regions import MaskRegion, mask_regions, outlines
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.backbones.backbone import Backbone
from ca_seg.data.inputs import NamedImage
from ca_seg.data.read import image_tensor
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.labelling.formats.regions import Per, check_per
from ca_seg.optional import optional_imports
from ca_seg.predictors.settings import PHOTOGRAPHS
from ca_seg.vocabulary import Vocabulary, Words
from ca_seg.vocabulary_file import read_vocabulary

with optional_imports("the function for CVAT"):
    from cvat_sdk import models
    from cvat_sdk.auto_annotation import (
        DetectionFunctionContext,
        DetectionFunctionSpec,
        label_spec,
        mask,
        polygon,
    )
    from cvat_sdk.masks import encode_mask

if TYPE_CHECKING:
    from PIL.Image import Image


class WordDetection:
    """Finds words in the frames of a CVAT task. Its labels have the names of the classes.

    Args:
        masks: segments images by words
        words: as in `ca_seg.segment`
        per: "class" gives one shape for a class, "part" one for each part whose pixels touch
        min_area: shapes smaller than this fraction of a frame are left out, 0..1
        tolerance: how far a polygon may leave the rim of its part, in pixels; polygons are given where CVAT asks for
            them in place of masks

    Raises:
        UserError: for words that cannot be asked
    """

    def __init__(
        self, masks: WordMasks, words: Words, *, per: Per = "class", min_area: float = 0.0, tolerance: float = 1.0
    ) -> None:
        check_per(per)
        if not 0 <= min_area <= 1 or tolerance < 0:
            raise OutOfRange(
                f"a smallest area of {min_area} and a tolerance of {tolerance}",
                allowed="an area of 0 to 1, and a tolerance of 0 or more",
            )
        self.masks, self.words = masks, words
        self.per, self.min_area, self.tolerance = per, min_area, tolerance
        segmenter = masks.segmenter(words)
        names = [name for number, name in enumerate(segmenter.classes) if number != segmenter.background]
        self.labels: Mapping[str, int] = {name: number for number, name in enumerate(names)}

    @property
    def spec(self) -> DetectionFunctionSpec:
        """The labels, each of the type "mask"."""
        return DetectionFunctionSpec(
            labels=[label_spec(name, number, type="mask") for name, number in self.labels.items()]
        )

    def detect(self, context: DetectionFunctionContext, image: Image) -> list[models.LabeledShapeRequest]:
        """The shapes in one frame, each with the mean confidence of its pixels as its score.

        Args:
            context: the frame's name, which decides its noise; the lowest score of a shape that is given (CVAT's
                `--conf-threshold`); and whether polygons are wanted in place of masks
            image: the frame
        """
        name = PurePosixPath(context.frame_name)
        frame = NamedImage(name.stem or "image", None, lambda: image_tensor(image, str(name)))
        shapes_of_words = mask_regions(self.masks(frame, self.words), self.per, min_area=self.min_area)
        lowest = context.conf_threshold or 0.0
        return [
            shape
            for region in shapes_of_words
            if region.confidence >= lowest
            for shape in self._shapes(region, polygons=context.conv_mask_to_poly)
        ]

    def _shapes(self, region: MaskRegion, *, polygons: bool) -> list[models.LabeledShapeRequest]:
        label = self.labels[region.name]
        if not polygons:
            return [mask(label, encode_mask(region.mask), score=region.confidence)]
        rings = outlines(region.mask, self.tolerance)
        points = ([coordinate + 0.5 for point in ring for coordinate in point] for ring in rings)  # centres of pixels
        return [polygon(label, list(ring), score=region.confidence) for ring in points]


def create(
    words: str = "",
    *,
    vocabulary: str = "",
    backbone: str | Backbone = PHOTOGRAPHS,
    background: str = "",
    threshold: float | None = None,
    refine: str = "",
    per: Per = "class",
    min_area: float = 0.0,
    tolerance: float = 1.0,
    device: str | None = None,
) -> WordDetection:
    """The function, as `cvat-cli` creates it: each argument is given as `-p NAME=TYPE:VALUE`.

    Args:
        words: with commas between them, such as "cat,grass,sky"; the task's labels have these names
        vocabulary: a file of classes and their phrases, in place of words (docs/labels.md)
        backbone: a name from `list_backbones()`, or a loaded backbone
        background: words for everything else, with commas between them
        threshold: 0 to 1; a pixel where no word reaches this probability is in no shape
        refine: steps that sharpen masks, such as "pamr,balance"; "": those of the backbone; "none": none
        per, min_area, tolerance: as in `WordDetection`
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one

    Raises:
        UserError: for words, options or weights that cannot be used
    """
    if bool(words) == bool(vocabulary):
        raise UserError("words and a vocabulary" if words else "no words", allowed="words, or a vocabulary")
    loaded = backbone if isinstance(backbone, Backbone) else None
    settings = SegmentSettings(
        backbone=backbone if isinstance(backbone, str) else backbone.card.name,
        background=_split(background) or None,
        threshold=threshold,
        refine=_split(refine) or None,
        device=device,
    )
    classes: Sequence[str] | Vocabulary = read_vocabulary(Path(vocabulary)) if vocabulary else _split(words)
    masks = WordMasks(settings, backbone=loaded, recordings=0)  # each frame is asked once
    return WordDetection(masks, classes, per=per, min_area=min_area, tolerance=tolerance)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
