"""The emoji images behind the object words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

SIDE = 96  # pixels of the long side of a stored emoji
LEVELS = 3  # levels of the pyramid, each half as large as the one before, so that small objects are not aliased


@dataclass(frozen=True)
class ObjectLibrary:
    """Words, each with its cut-out images. An image is a pyramid of float32 premultiplied RGBA in 0..1."""

    images: Mapping[str, tuple[tuple[np.ndarray, ...], ...]]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.images)

    @classmethod
    def from_images(cls, images: Mapping[str, list[np.ndarray]]) -> ObjectLibrary:
        """From uint8 RGBA images [H, W, 4]."""
        return cls({word: tuple(_pyramid(image) for image in word_images) for word, word_images in images.items()})

    @classmethod
    def load(cls, cache: Path, *, style: str = "3d", part: str = "train") -> ObjectLibrary:
        """The words of `part` (`train` or `held_out`) of objects.yaml in a `style`: `3d` (Fluent) or `drawing` (Noto).

        Run `python -m recipes.mini.fetch` first. Raises FileNotFoundError naming an image that is not there.
        """
        names = yaml.safe_load((Path(__file__).parent / "objects.yaml").read_text(encoding="utf-8"))[part]
        unified = {
            e["short_name"]: e["unified"].lower() for e in json.loads((cache / "noto" / "emoji.json").read_text())
        }
        images = {}
        for word, shorts in names.items():
            files = [_file(cache, style, unified[short]) for short in shorts]
            images[word] = [np.asarray(Image.open(f).convert("RGBA")) for f in files if f is not None]
            if not images[word]:
                raise FileNotFoundError(f"no {style} image of {word!r} ({', '.join(shorts)}) below {cache}")
        return cls.from_images(images)


def _file(cache: Path, style: str, unified: str) -> Path | None:
    folder, ending = {"3d": ("fluent", "webp"), "drawing": ("noto", "png")}[style]
    spellings = (unified, unified.replace("-fe0f", ""))
    return next((f for s in spellings if (f := cache / folder / f"{s}.{ending}").exists()), None)


def _pyramid(rgba: np.ndarray) -> tuple[np.ndarray, ...]:
    rows, columns = np.nonzero(rgba[..., 3] > 127)
    cut = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32) / 255
    cut[..., :3] *= cut[..., 3:]
    scale = SIDE / max(cut.shape[:2])
    size = [max(8, round(side * scale)) for side in cut.shape[1::-1]]
    levels = [cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)]
    for _ in range(LEVELS - 1):
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return tuple(levels)
