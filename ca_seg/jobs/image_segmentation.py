"""The call and the output of transformers' `pipeline("image-segmentation")`, by words.

A class of its own and not a subclass: transformers' `Pipeline` wants a `PreTrainedModel` with a configuration of fixed
labels, and a backbone is neither.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.data.inputs import NamedImage, open_images
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings, default_device
from ca_seg.predictors.settings import PHOTOGRAPHS
from ca_seg.vocabulary import Words

Annotations = list[dict[str, Any]]


class ImageSegmentation:
    """Segments images as transformers' image-segmentation pipelines do. Get one from `image_segmentation_pipeline`.

    Args:
        settings: of `segment`; the backbone is loaded at once
        candidate_labels: the words, where a call gives none
        backbone: a loaded one, in place of the settings'
    """

    task = "image-segmentation"

    def __init__(
        self, settings: SegmentSettings, candidate_labels: Words | None = None, *, backbone: Backbone | None = None
    ) -> None:
        self.settings = settings.with_preset()
        self.candidate_labels = candidate_labels
        self.backbone = self.settings.load(default_device(settings.device), backbone)
        self._segmenters: dict[str, Segmenter] = {}

    def __call__(
        self, inputs: Any, candidate_labels: Words | None = None, *, threshold: float | None = None
    ) -> Annotations | list[Annotations]:
        """The segments of one image, or of each of a list.

        Args:
            inputs: a path, a PIL image, or a list of these
            candidate_labels: a word, a list of words, a dict of class to phrases, or a Vocabulary (default: those that
                the pipeline was given)
            threshold: 0 to 1; segments with a lower score are left out, as in transformers (default: none is)

        Returns:
            For one image a list of one dict per class that has pixels, in the order of the classes:

                score    mean confidence of its pixels, 0..1 (see `Segmentation.confidence`)
                label    the class
                mask     PIL image of mode L in the image's size: 255 in the segment, 0 elsewhere

            Background is left out. For a list of images, a list of such lists.

        Raises:
            UnreadableImage: for a file that is not a whole image
            UserError: for words or options that cannot be used
        """
        labels = self.candidate_labels if candidate_labels is None else candidate_labels
        if labels is None:
            raise UserError(
                "no candidate_labels are given", fix='name what to look for: candidate_labels=["cat", "sky"]'
            )
        if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
            raise OutOfRange(f"a threshold of {threshold!r}", allowed="0 to 1")
        images = [_one_image(image) for image in (inputs if isinstance(inputs, list | tuple) else [inputs])]
        segmenter = self._segmenter(labels)
        annotations = [_annotations(segmenter(image), threshold or 0.0) for image in images]
        return annotations if isinstance(inputs, list | tuple) else annotations[0]

    def _segmenter(self, labels: Words) -> Segmenter:
        """One per list of words, so that words are checked and encoded once."""
        key = repr(labels)
        if key not in self._segmenters:
            self._segmenters = {key: Segmenter(labels, self.settings, backbone=self.backbone)}
        return self._segmenters[key]


def image_segmentation_pipeline(
    backbone: str | Backbone = PHOTOGRAPHS,
    *,
    candidate_labels: Words | None = None,
    background: str | Sequence[str] | None = None,
    refine: str | Sequence[str] | None = None,
    device: str | None = None,
    settings: SegmentSettings | None = None,
) -> ImageSegmentation:
    """A callable with the arguments and the output of `transformers.pipeline("image-segmentation")`.

    Its masks are those of `segment`.

    Args:
        backbone: a name from `list_backbones()`, or a loaded backbone
        candidate_labels: the words, where a call gives none
        background: words for everything else; their segment is left out
        refine: steps that sharpen the masks, such as "pamr"
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one
        settings: all other options

    Returns:
        The callable, with its backbone loaded.

    Raises:
        UserError: for options or weights that cannot be used

    Example:
        >>> segmenter = ca_seg.image_segmentation_pipeline("photo", candidate_labels=["cat", "grass"])
        >>> segmenter("photo.jpg")
        [{'score': 0.91, 'label': 'cat', 'mask': <PIL.Image.Image mode=L>}, ...]
    """
    chosen = checked_settings(settings, SegmentSettings())
    words, steps = ((value,) if isinstance(value, str) else value for value in (background, refine))
    named: dict[str, Any] = {
        "backbone": backbone.card.name if isinstance(backbone, Backbone) else backbone,
        "background": None if words is None else tuple(words),
        "refine": None if steps is None else tuple(steps),
        "device": device,
    }
    chosen = replace(chosen, **{name: value for name, value in named.items() if value is not None})
    return ImageSegmentation(chosen, candidate_labels, backbone=backbone if isinstance(backbone, Backbone) else None)


def _one_image(source: Any) -> NamedImage:
    if not isinstance(source, str | os.PathLike | Image.Image):
        raise UserError(f"an image is a {type(source).__name__}", allowed="a path, a PIL image, or a list of these")
    images = list(open_images(source))
    if len(images) != 1:
        raise UserError(f"{source} holds {len(images)} images", allowed="one image for each entry")
    return images[0]


def _annotations(segmentation: Segmentation, lowest: float) -> Annotations:
    annotations: Annotations = []
    for index, label in enumerate(segmentation.classes):
        inside = segmentation.mask == index
        if index == segmentation.background or not inside.any():
            continue
        score = float(segmentation.confidence[inside].mean())
        if score >= lowest:
            mask = Image.fromarray(np.where(inside, np.uint8(255), np.uint8(0)))
            annotations.append({"score": score, "label": label, "mask": mask})
    return annotations
