"""Predicted masks as files, so that they can be scored with another tool.

OUT/predictions/<protocol>/<image id>.png      8-bit palette PNG with the dataset's class ids, in the image's size
"""

from __future__ import annotations

from pathlib import Path

import torch

from ca_seg.data.classes import ClassList
from ca_seg.visual.mask_png import write_mask


class PredictionWriter:
    """Writes one mask per call with (protocol, image id, class indices [H, W])."""

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self.folder, self.classes = folder, classes

    def __call__(self, protocol: str, image_id: str, mask: torch.Tensor) -> None:
        write_mask(self.folder / protocol / f"{image_id}.png", mask.cpu().numpy(), self.classes.to_ids)
