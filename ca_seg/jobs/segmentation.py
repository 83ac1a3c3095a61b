"""One segmented image: its mask, probabilities and confidence, as pictures, as files and in a notebook."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ca_seg.atomic import atomic_write
from ca_seg.decision.argmax import MaskPrediction, predict_mask
from ca_seg.decision.class_scores import class_scores
from ca_seg.errors import UnknownName, UserError
from ca_seg.jobs.instances import Instance, instances
from ca_seg.jobs.segmentation_files import DEFAULT_FORMATS, check_labels, cutout_file, default_file, save_label
from ca_seg.json_file import write_json
from ca_seg.refine.boxes_and_points import SMALLEST
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.mask_png import write_mask
from ca_seg.visual.overlay import overlay
from ca_seg.vocabulary import IGNORE_INDEX

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ca_seg.predictors.presence import ImagePresence

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `ca_seg.segment` returns for one image. In a notebook it shows itself as an overlay.

    Attributes:
        pixels: the image, uint8 [H, W, 3]
        maps: class maps float32 [1, k, h, w] of the first k classes, on the backbone's grid of tokens
        classes: the K class names, in the order of the words; a background class comes last
        background: the index of the background class, or None. Where a threshold alone decides it, it has no map
        threshold: below this probability of the best class a pixel is background; None: no threshold
        image_id: the file's name without its ending, or the image's number
        backbone: the name of the backbone
        colours: RGB by class name, where the user chose some
        unseen: the phrases that training never taught, each with the taught word that is nearest in meaning; None: it
            is not known what training taught
        presence: how likely each word is in the image; None: not measured for this backbone
        caption, captioner: what the words are from, where they are those of a caption
        file_name: `image_id` with the ending of the image's file, as labels name it; None: it is not from a file
    """

    pixels: np.ndarray
    maps: torch.Tensor
    classes: tuple[str, ...]
    background: int | None
    threshold: float | None
    image_id: str
    backbone: str
    colours: Mapping[str, Colour] | None = None
    unseen: Mapping[str, str] | None = None
    presence: ImagePresence | None = None
    caption: str | None = None
    captioner: str | None = None
    file_name: str | None = None

    @property
    def likely(self) -> bool:
        """Whether any of the words is likely in the image; true where it was not measured."""
        return self.presence is None or self.presence.likely

    @cached_property
    def _prediction(self) -> MaskPrediction:
        return predict_mask(self.maps, *self.pixels.shape[:2])

    @cached_property
    def mask(self) -> np.ndarray:
        """Class indices uint8 [H, W]."""
        best = self._prediction.mask[0].cpu().numpy().astype(np.uint8)
        return best if self.background is None else np.where(self._below, np.uint8(self.background), best)

    @property
    def probabilities(self) -> np.ndarray:
        """Float32 [K, H, W], computed anew at each call. They sum to 1 over the classes.

        A background class that a threshold alone decides has no map, and its row is 0.
        """
        scores = self._prediction.scores[0].float().cpu().numpy()
        missing = np.zeros((len(self.classes) - len(scores), *scores.shape[1:]), np.float32)
        return np.concatenate([scores, missing])

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of each pixel's class, float32 [H, W].

        Where the threshold made a pixel background it is 1 minus the highest probability. In an image in which none of
        the words is likely it is lower, by `presence.factor`.
        """
        best = self._prediction.confidence[0].float().cpu().numpy()
        factor = 1.0 if self.presence is None else self.presence.factor
        probability = best if self.threshold is None else np.where(self._below, 1 - best, best)
        return (factor * probability).astype(np.float32)

    @cached_property
    def _below(self) -> np.ndarray:
        """Where the threshold makes a pixel background, bool [H, W]."""
        prediction = self._prediction
        best, winner = prediction.confidence[0].float().cpu().numpy(), prediction.mask[0].cpu().numpy()
        if self.threshold is None:
            return np.zeros(best.shape, bool)
        return (best < self.threshold) & (winner != self.background)

    def index(self, name: str) -> int:
        """The index of a class. Raises UnknownName."""
        if name not in self.classes:
            raise UnknownName("class", name, self.classes)
        return self.classes.index(name)

    def fractions(self) -> dict[str, float]:
        """The fraction of the image's pixels that each class has, 0..1, also of classes without any."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
        return {name: float(count / self.mask.size) for name, count in zip(self.classes, counts, strict=True)}

    def overlay(self, *, alpha: float = 0.55, legend: bool = True) -> Image:
        """The image with its classes laid over it in colour, and a legend with the fraction of each class.

        The background is not coloured. A class without a pixel stays in the legend with "0 %".
        """
        mask = self.mask if self.background is None else np.where(self.mask == self.background, IGNORE_INDEX, self.mask)
        asked = [index for index in range(len(self.classes)) if index != self.background]
        return overlay(self.pixels, mask, self.classes, alpha=alpha, legend=legend, asked=asked, rgb=self._rgb())

    def heatmaps(self) -> Image:
        """The image and one heat map per class, side by side."""
        maps = self.maps[0].float().cpu().numpy()
        return heatmap_strip(self.pixels, maps, self.classes[: len(maps)])

    def cutout(self, name: str) -> Image:
        """The pixels of one class on a transparent background, RGBA in the image's size. Raises UnknownName."""
        from PIL import Image

        alpha = np.where(self.mask == self.index(name), 255, 0).astype(np.uint8)
        return Image.fromarray(np.dstack([self.pixels, alpha]))

    def as_dict(self) -> dict[str, Any]:
        """Size, backbone, unseen words, presence; per class: id in the mask file, fraction, probabilities, presence."""
        fractions = self.fractions()
        height, width = self.mask.shape
        mean, highest = (scores.tolist() for scores in class_scores(self.maps[0], height, width))
        missing = [0.0] * (len(self.classes) - len(mean))  # a background that a threshold alone decides
        mean, highest = mean + missing, highest + missing
        presence = self.presence
        return {
            "image": self.image_id,
            "backbone": self.backbone,
            "size": [width, height],
            "mean_confidence": float(self.confidence.mean()),
            "unseen": None if self.unseen is None else dict(self.unseen),
            "presence": None if presence is None else {"highest": presence.highest, "threshold": presence.threshold},
            "likely": self.likely,
            **({} if self.caption is None else {"caption": self.caption, "captioner": self.captioner}),
            "concepts": {
                name: {
                    "mask_id": int(self._mask_ids[index]),
                    "fraction": fractions[name],
                    "mean_score": mean[index],
                    "highest_score": highest[index],
                    "presence": None if presence is None else presence.words.get(name),
                }
                for index, name in enumerate(self.classes)
            },
        }

    def save(self, folder: str | Path, formats: str | Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
        """Write files below `folder`, each whole or not at all; their paths.

            overlay      ID_overlay.png     the image, coloured, with a legend
            mask         ID_mask.png        palette PNG in the image's size: 1 = the first class ...; 0 = background
            heatmaps     ID_heatmaps.png    one heat map per class
            json         ID_scores.json     `as_dict`
            coco, yolo, labelme ...         any format of `ca_seg.list_formats()`, in a folder of its name; all images
                                            there have one list of classes

        Raises:
            UnknownName: for a format that there is not
            UserError: for a file that cannot be written, and a format's folder with labels of other classes
        """
        formats = (formats,) if isinstance(formats, str) else formats
        check_labels(Path(folder), formats, self.classes)
        paths: list[Path] = []
        for name in formats:
            paths += (
                [self._save_default(Path(folder), name)]
                if name in DEFAULT_FORMATS
                else save_label(self, Path(folder), name)
            )
        return paths

    def save_cutout(self, name: str, folder: str | Path) -> Path:
        """Write FOLDER/ID_cutout_CLASS.png."""
        path = Path(folder) / cutout_file(self.image_id, name)
        _write_png(path, self.cutout(name))
        return path

    def instances(self, *, smallest: float = SMALLEST) -> list[Instance]:
        """The connected parts of each class: `ca_seg.jobs.instances.instances`. Things that touch are one."""
        return instances(self, smallest=smallest)

    @cached_property
    def _mask_ids(self) -> np.ndarray:
        """The number of each class in mask files: 1, 2, 3 ..., and 0 for the background."""
        ids = np.arange(1, len(self.classes) + 1, dtype=np.uint8)
        if self.background is not None:
            ids[self.background] = 0
        return ids

    def _save_default(self, folder: Path, name: str) -> Path:
        path = folder / default_file(self.image_id, name)
        if name == "overlay":
            _write_png(path, self.overlay())
        elif name == "heatmaps":
            _write_png(path, self.heatmaps())
        elif name == "mask":
            write_mask(path, self.mask, lambda indices: self._mask_ids[indices])
        else:
            write_json(path, self.as_dict())
        return path

    def _rgb(self) -> list[Colour] | None:
        """The colour of each class, where the user chose some."""
        if self.colours is None:
            return None
        from ca_seg.visual.palette import colour

        return [self.colours.get(name, colour(index)) for index, name in enumerate(self.classes)]

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        buffer = io.BytesIO()
        self.overlay().save(buffer, format="PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {100 * fraction:.0f} %" for name, fraction in self.fractions().items())
        note = "" if self.likely else "; none of the words is likely"
        return f"Segmentation({self.image_id!r}: {parts}; mean confidence {self.confidence.mean():.2f}{note})"


def _write_png(path: Path, picture: Image) -> None:
    with atomic_write(path) as part:
        picture.save(part, format="PNG", compress_level=3)  # half the time of 6, files 8 % larger


def check_colours(colours: Mapping[str, str], classes: Sequence[str]) -> dict[str, Colour]:
    """Colours by class name as RGB, from names ("red") or codes ("#ff0000"). Raises UnknownName, UserError."""
    from PIL import ImageColor

    checked: dict[str, Colour] = {}
    for name, text in colours.items():
        if name not in classes:
            raise UnknownName("class in colors", name, classes)
        try:
            red, green, blue = ImageColor.getrgb(text)[:3]
        except ValueError as problem:
            raise UserError(
                f"the colour {text!r} of {name}", allowed="names such as red, or codes such as #ff0000"
            ) from problem
        checked[name] = (red, green, blue)
    return checked
