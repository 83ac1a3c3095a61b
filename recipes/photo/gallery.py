"""Photographs that no one chose, drawn by `python -m recipes.photo.gallery`: the shipped ones and four of scikit-image.

    docs/images/photographs_all.jpg      the 26 shipped photographs, asked the classes that are in each
    docs/images/photographs_known.png    cat, cup, astronaut and rocket, asked the words below

Each photograph stands beside its overlay, with the settings that `ca-seg segment` has by default.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

import ca_seg
from ca_seg.data.catalogue import open_dataset
from ca_seg.vocabulary import IGNORE_INDEX

IMAGES = Path(__file__).parents[2] / "docs" / "images"
KNOWN = {
    "chelsea": ("cat", "wall", "cloth"),
    "coffee": ("cup", "saucer", "spoon", "table"),
    "astronaut": ("person", "flag", "helmet", "space shuttle", "wall"),
    "rocket": ("rocket", "tower", "sky"),
}
LARGE, SMALL, GAP = (330, 250), (220, 167), 8  # pixels: of a cell, and between cells


def sheet(pictures: Sequence[Image.Image], columns: int, cell: tuple[int, int]) -> Image.Image:
    """Pictures on a white grid, each scaled into its cell."""
    width, height = (side + GAP for side in cell)
    whole = Image.new("RGB", (columns * width + GAP, -(-len(pictures) // columns) * height + GAP), "white")
    for index, picture in enumerate(pictures):
        small = picture.convert("RGB")
        small.thumbnail(cell)
        whole.paste(small, (GAP + index % columns * width, GAP + index // columns * height))
    return whole


def pairs(image: np.ndarray | torch.Tensor, words: Sequence[str], backbone: ca_seg.Backbone) -> list[Image.Image]:
    """A photograph and its overlay."""
    result = ca_seg.segment(image, list(words), backbone=backbone)
    return [Image.fromarray(result.pixels), result.overlay()]


def draw(name: str, folder: Path) -> None:
    """Write both pictures."""
    backbone, dataset = ca_seg.load_backbone(name), open_dataset("photographs")
    shipped: list[Image.Image] = []
    for index in range(len(dataset)):
        item = dataset[index]
        present = [int(c) for c in np.unique(item["mask"]) if c != IGNORE_INDEX]
        shipped += pairs(item["image"], [dataset.class_list.names[c] for c in present], backbone)
    sheet(shipped, 6, SMALL).save(folder / "photographs_all.jpg", quality=82)
    known = [p for image, words in KNOWN.items() for p in pairs(getattr(skimage.data, image)(), words, backbone)]
    sheet(known, 4, LARGE).save(folder / "photographs_known.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="photo")
    parser.add_argument("--out", type=Path, default=IMAGES)
    args = parser.parse_args()
    draw(args.name, args.out)
