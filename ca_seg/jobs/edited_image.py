"""One edited photograph: its mask, the region that was edited, and the result, as pictures and as files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.editing.region import Region
from ca_seg.errors import UserError
from ca_seg.visual.overlay import overlay
from ca_seg.vocabulary import IGNORE_INDEX

if TYPE_CHECKING:
    from ca_seg.jobs.segmentation import Segmentation


@dataclass(frozen=True, eq=False)
class EditedImage:
    """What `ca_seg.edit` returns.

    Attributes:
        photograph: uint8 [H, W, 3]
        mask: where the words are, bool [H, W], before it grows; the user's own where one was given
        region: what was edited
        edited: uint8 [H, W, 3], byte for byte the photograph outside the region; None with `mask_only`
        words: of the mask, joined
        prompt: what was painted; None where nothing was
        image_id: the file's name without its ending
        segmentation: what decided the mask; None for a mask of the user's own
    """

    photograph: np.ndarray
    mask: np.ndarray
    region: Region
    edited: np.ndarray | None
    words: str
    prompt: str | None
    image_id: str
    segmentation: Segmentation | None

    @property
    def image(self) -> Image.Image:
        """The edited photograph. Raises UserError with `mask_only`."""
        if self.edited is None:
            raise UserError("only the mask was asked for", fix="leave mask_only out")
        return Image.fromarray(self.edited)

    def overlay(self) -> Image.Image:
        """The photograph with the words' mask and the rest of the edited region in colour."""
        painted = np.full(self.mask.shape, IGNORE_INDEX, np.uint8)
        painted[self.region.inside] = 1
        painted[self.mask] = 0
        return overlay(self.photograph, painted, [self.words, "edited too"])

    def save(self, folder: str | Path, *, inputs: tuple[Path, ...] = ()) -> list[Path]:
        """Write files below `folder`, each whole or not at all; their paths.

            ID_mask.png      the words' mask: 255 inside, 0 outside; change it and give it back as `mask`
            ID_overlay.png   the mask and the region in colour
            ID_edited.png    the result (not with `mask_only`)

        Args:
            folder: is made
            inputs: files that were read. A mask among them is not written again

        Raises:
            UserError: for a file that cannot be written, and for one that would overwrite the photograph
        """
        pictures = {"mask": Image.fromarray(self.mask).convert("L"), "overlay": self.overlay()}
        if self.edited is not None:
            pictures["edited"] = self.image
        paths = {name: output_path(folder, self.image_id, name) for name in pictures}
        check_overwriting([path for name, path in paths.items() if name != "mask"], inputs)
        if is_among(paths["mask"], inputs):
            pictures.pop("mask")
        for name, picture in pictures.items():
            with atomic_write(paths[name]) as part:
                picture.save(part, format="PNG")
        return [paths[name] for name in pictures]


def output_path(folder: str | Path, image_id: str, name: str) -> Path:
    """The file of one picture of an edit: FOLDER/ID_edited.png."""
    return Path(folder) / f"{image_id}_{name}.png"


def check_overwriting(paths: list[Path], inputs: tuple[Path, ...]) -> None:
    """Raises UserError for an output that is a file that was read."""
    for path in paths:
        if is_among(path, inputs):
            raise UserError(f"{path} is a file that was given", fix="give another folder for the results")


def is_among(path: Path, inputs: tuple[Path, ...]) -> bool:
    """Whether a path is one of the files, also by a link."""
    return path.exists() and any(file.exists() and os.path.samefile(path, file) for file in inputs)
