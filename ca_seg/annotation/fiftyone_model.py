"""A model of FiftyOne that finds words: `dataset.apply_model(WordModel(["cat", "grass"]), label_field="words")`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ca_seg.annotation.regions import MaskRegion, mask_regions
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.data.inputs import NamedImage, open_images
from ca_seg.errors import OutOfRange
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.labelling.formats.regions import Per, check_per
from ca_seg.optional import optional_imports
from ca_seg.vocabulary import Words

with optional_imports("the model for FiftyOne"):
    import fiftyone as fo
    from fiftyone.core.models import Model, SamplesMixin


class WordModel(SamplesMixin, Model):
    """Finds words in the images of a FiftyOne dataset.

    A mask has 1, 2, 3 ... for the classes and 0 for the background, which FiftyOne does not draw; `mask_targets` has
    their names. An image is read from its sample's file, as `ca_seg.segment` reads it; without a sample, the array is
    used.

    Args:
        words: as in `ca_seg.segment`
        masks: segments images by words; None: with the settings of `ca_seg.segment`
        instances: give `Detections` with a mask and a confidence each, in place of one `Segmentation`
        per: of detections: "class" gives one for a class, "part" one for each part whose pixels touch
        min_area: detections smaller than this fraction of an image are left out, 0..1

    Raises:
        UserError: for words, options or weights that cannot be used

    Example:
        >>> model = WordModel(["cat", "grass", "sky"])
        >>> dataset.apply_model(model, label_field="words")
        >>> dataset.mask_targets["words"] = model.mask_targets
    """

    def __init__(
        self,
        words: Words,
        *,
        masks: WordMasks | None = None,
        instances: bool = False,
        per: Per = "part",
        min_area: float = 0.0,
    ) -> None:
        SamplesMixin.__init__(self)
        check_per(per)
        if not 0 <= min_area <= 1:
            raise OutOfRange(f"a smallest area of {min_area}", allowed="0 to 1, a fraction of the image")
        self.masks = masks or WordMasks(recordings=0)
        self.words, self.instances, self.per, self.min_area = words, instances, per, min_area
        self.config = None  # FiftyOne looks here for a threshold of the model's own
        segmenter = self.masks.segmenter(words)
        self._classes, self._background = segmenter.classes, segmenter.background

    @property
    def mask_targets(self) -> Mapping[int, str]:
        """The class of each number in a mask."""
        numbers = class_numbers(len(self._classes), self._background)
        return {int(number): name for number, name in zip(numbers, self._classes, strict=True) if number}

    @property
    def media_type(self) -> str:
        """Images."""
        return "image"

    @property
    def ragged_batches(self) -> bool:
        """False: images of a batch may differ in size."""
        return False

    @property
    def transforms(self) -> None:
        """None: images are taken as they are."""
        return None

    @property
    def preprocess(self) -> bool:
        """False: there is nothing to be done before."""
        return False

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        pass

    def predict(self, arg: np.ndarray, sample: Any = None) -> fo.Segmentation | fo.Detections:
        """The label of one image.

        Args:
            arg: uint8 [H, W, 3]
            sample: of FiftyOne, with the image's file; None: the array is used
        """
        result = self.masks(_image(arg, sample), self.words)
        if self.instances:
            mask_parts = mask_regions(result, self.per, min_area=self.min_area)
            return fo.Detections(detections=[_detection(region) for region in mask_parts])
        return fo.Segmentation(mask=numbered_mask(result))

    def predict_all(
        self, args: Iterable[np.ndarray], samples: Sequence[Any] | None = None
    ) -> list[fo.Segmentation | fo.Detections]:
        """The labels of several images, which may differ in size."""
        images = list(args)
        return [
            self.predict(image, sample) for image, sample in zip(images, samples or [None] * len(images), strict=True)
        ]


def class_numbers(count: int, background: int | None) -> np.ndarray:
    """The number of each class in FiftyOne's masks, uint8 [count]: 1, 2, 3 ..., and 0 for the background."""
    numbers = np.arange(1, count + 1, dtype=np.uint8)
    if background is not None:
        numbers[background] = 0
    return numbers


def numbered_mask(segmentation: Segmentation) -> np.ndarray:
    """The mask uint8 [H, W] with FiftyOne's numbers."""
    return class_numbers(len(segmentation.classes), segmentation.background)[segmentation.mask]


def _image(array: np.ndarray, sample: Any) -> NamedImage:
    if sample is None:
        return next(open_images(array))
    path = Path(sample.filepath)
    return next(open_images([path]))


def _detection(region: MaskRegion) -> fo.Detection:
    height, width = region.mask.shape
    left, top, wide, high = region.box
    return fo.Detection(
        label=region.name,
        bounding_box=[left / width, top / height, wide / width, high / height],
        mask=region.mask[top : top + high, left : left + wide],
        confidence=region.confidence,
    )
