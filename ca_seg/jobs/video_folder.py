"""The folder of a segmented video: what is written there belongs to one run.

OUT/classes.json        the classes of the numbers in the masks; written before the first mask, so that masks without it
                        are not of a segmented video
OUT/masks/00000.png     and so on, one per frame: 1 = the first class
OUT/overlay.mp4         written last: a run that was stopped has none
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ca_seg.bounded_files import read_json
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from ca_seg.output_files import check_outputs
from ca_seg.visual.mask_png import write_mask


class VideoFolder:
    """The folder of a segmented video.

    Args:
        out: the folder, which need not exist
    """

    def __init__(self, out: Path) -> None:
        self.classes, self.masks, self.overlay = out / "classes.json", out / "masks", out / "overlay.mp4"

    def check(self, source: Path) -> None:
        """Raises UserError where the video, its frames or files that are not of a segmented video would be replaced."""
        check_outputs([self.overlay], [source])
        if source.is_dir():
            check_outputs([self.masks], [source])
        if self.classes.exists():
            if not self._is_of_a_video():
                raise UserError(f"{self.classes} is there, and not of a segmented video", fix="give another out")
            return
        for path in (*self._numbered_masks()[:1], self.overlay):
            if path.exists():
                what = f"{path} is there without the {self.classes.name} of a segmented video"
                raise UserError(what, fix="give another out")

    def begin(self, classes: Sequence[str], unseen: Mapping[str, str] | None) -> None:
        """Take the folder for a run: what a former one wrote is removed, and the classes are written.

        Raises UserError where a file cannot be removed or written.
        """
        for path in (self.overlay, *self._numbered_masks()):
            try:
                path.unlink(missing_ok=True)
            except OSError as problem:
                raise UserError(f"{path} cannot be removed ({problem.strerror})", fix="give another out") from problem
        names = {str(index + 1): name for index, name in enumerate(classes)}
        write_json(self.classes, {"classes": names, "unseen": unseen})

    def write_mask(self, frame: int, mask: np.ndarray) -> None:
        """Write the mask of a frame: class indices, uint8 [H, W]."""
        write_mask(self.masks / f"{frame:05d}.png", mask, lambda indices: (indices + 1).astype(np.uint8))

    def _is_of_a_video(self) -> bool:
        try:
            content = read_json(self.classes)
        except (OSError, ValueError):
            return False
        return isinstance(content, dict) and content.keys() == {"classes", "unseen"}

    def _numbered_masks(self) -> list[Path]:
        """The files that are named as masks of frames are."""
        return sorted(path for path in self.masks.glob("*.png") if _is_frame(path.stem))


def _is_frame(stem: str) -> bool:
    return stem.isascii() and stem.isdigit() and stem == f"{int(stem):05d}"
