"""Ask the segmenters and detectors of the packed pictures: `python -m recipes.photo.teach [--part 0/2]`.

    labels/000.npz     masks, uint8 [N, 3, 64, 64]: the segmenters' classes; NOT_SHOWN for a picture they did not see
    labels/000.json    for each picture the detectors' boxes

`photo-words` needs none of it. A shard that exists is not asked again, and one that was not finished has no `.json`.
Two processes with --part 0/2 and --part 1/2 share the work.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.photo.detectors import DETECTORS, Box, Detector
from recipes.photo.fetch import CACHE, repository_folder
from recipes.photo.pack import read_shard
from recipes.photo.segmenters import GRID, SEGMENTERS, Segmenter
from recipes.photo.sources import SOURCES

NOT_SHOWN = 255


def labels(
    shard: Path,
    segmenters: Sequence[Callable[[Image.Image], np.ndarray]],
    detectors: Sequence[Callable[[Image.Image], list[Box]]],
) -> tuple[np.ndarray, list[list[Box]]]:
    """The masks [N, S, 64, 64] and boxes of every picture of a shard."""
    natural = {source.name for source in SOURCES if source.natural}
    masks, boxes = [], []
    for record, pixels in read_shard(shard):
        shown = record["source"] in natural
        picture = Image.fromarray(pixels)
        seen = [segmenter(picture) for segmenter in segmenters] if shown else []
        masks.append(np.stack(seen) if shown else np.full((len(segmenters), GRID, GRID), NOT_SHOWN, np.uint8))
        boxes.append([box for detector in detectors for box in detector(picture)] if shown else [])
    return np.stack(masks), boxes


def teach(cache: Path, part: int, of: int) -> None:
    """Write the labels of the shards that have none."""
    folder = cache / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    segmenters = [Segmenter(file, repository_folder(cache, file.repository)) for file in SEGMENTERS]
    detectors = [Detector(file, repository_folder(cache, file.repository)) for file in DETECTORS]
    for shard in sorted((cache / "shards").glob("*.tar"))[part::of]:
        target = folder / f"{shard.stem}.json"
        if target.exists():
            continue
        start = time.monotonic()
        masks, boxes = labels(shard, segmenters, detectors)
        np.savez_compressed(target.with_suffix(".npz"), masks=masks)
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps([[asdict(box) for box in of_picture] for of_picture in boxes]))
        os.replace(partial, target)
        print(f"{shard.name}: {len(boxes)} pictures, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--part", default="0/1", help="K/N: this process takes every Nth shard, from the Kth")
    args = parser.parse_args()
    part, of = (int(number) for number in args.part.split("/"))
    teach(args.cache, part, of)
