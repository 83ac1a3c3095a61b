"""Write the tables of pictures and of teachers into docs/photo.md: `python -m recipes.photo.page`."""

from __future__ import annotations

from pathlib import Path

from recipes.page import fill, table
from recipes.photo.detectors import DETECTORS
from recipes.photo.segmenters import SEGMENTERS
from recipes.photo.sources import SOURCES

PAGE = Path(__file__).parents[2] / "docs" / "photo.md"
NETWORKS = {
    "ade20k-31": "MOSAIC, 31 classes of ADE20K",
    "ade20k-150": "DeepLab v3+ on MobileNet v2, 150 classes of ADE20K",
    "voc-20": "DeepLab v3 on MobileNet v2, PASCAL VOC's 20 things (pre-trained on COCO)",
    "coco-80": "PicoDet-S, boxes of COCO's 80 things",
    "faces": "Ultra-Light-Fast-Generic-Face-Detector, boxes of faces",
}


def sources_table() -> str:
    """The sources in Markdown."""
    rows = [[s.shows, f"`{s.repository}`", f"{s.pictures:,}", s.terms] for s in SOURCES]
    return table(["what", "repository", "at most", "terms"], rows)


def teachers_table() -> str:
    """The segmenters and detectors in Markdown."""
    rows = [[NETWORKS[n.name], f"`{n.repository}`", n.terms] for n in (*SEGMENTERS, *DETECTORS)]
    return table(["network", "repository", "terms"], rows)


if __name__ == "__main__":
    fill(PAGE, "sources", sources_table())
    fill(PAGE, "teachers", teachers_table())
