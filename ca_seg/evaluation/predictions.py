"""Predicted masks as files, so that anyone can score them again with another tool.

OUT/predictions/<protocol>/<stem>.png      8-bit palette PNG of the dataset's own class ids, the image's own size
"""

from __future__ import annotations

from pathlib import Path

import torch

from ca_seg.data.classes import ClassList
from ca_seg.visual.mask_png import write_mask


class PredictionWriter:
    """Called with (protocol, stem, class indices [H, W])."""

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self.folder, self.classes = folder, classes

    def __call__(self, protocol: str, image_id: str, mask: torch.Tensor) -> None:
        write_mask(self.folder / protocol / f"{image_id}.png", mask.cpu().numpy(), self.classes.to_ids)
