"""Cut the pictures and write shards: `python -m recipes.photo.pack [--part 0/2]`.

    shards/000.tar     256 pictures: N.jpg (320 x 320) and N.json (source, words), as a WebDataset shard

A shard is about 7 MB, so that any number of them can be taken to another machine. A shard that exists is not made
again; two processes with --part 0/2 and --part 1/2 share the work.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.photo.fetch import CACHE
from recipes.photo.pictures import Cutter, Picture, open_sources, plan, scaled

SHARD = 256
QUALITY = 90


def parts(picture: Picture, cutter: Cutter) -> dict[str, bytes]:
    """The files of one picture, by their extension."""
    jpeg = io.BytesIO()
    scaled(cutter.square(picture)).save(jpeg, "JPEG", quality=QUALITY)
    return {"jpg": jpeg.getvalue(), "json": json.dumps(asdict(picture) | {"words": cutter.words(picture)}).encode()}


def read_shard(file: Path) -> Iterator[tuple[dict, np.ndarray]]:
    """The record and the pixels uint8 [320, 320, 3] of every picture of a shard."""
    files: dict[str, dict[str, bytes]] = {}
    with tarfile.open(file) as tar:
        for member in tar:
            name, extension = member.name.split(".")
            files.setdefault(name, {})[extension] = tar.extractfile(member).read()  # type: ignore[union-attr]
    for name in sorted(files):
        yield json.loads(files[name]["json"]), np.asarray(Image.open(io.BytesIO(files[name]["jpg"])))


def pack(cache: Path, part: int, of: int, first: int, shards: int | None) -> None:
    """Write the shards whose number is `part` modulo `of`."""
    files = open_sources(cache)
    pictures, cutter = plan(files), Cutter(files)
    folder = cache / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    total = len(pictures) // SHARD
    last = total if shards is None else min(first + shards, total)
    print(f"{len(pictures)} pictures, {total} shards", flush=True)
    for number in range(first + part, last, of):
        target = folder / f"{number:03d}.tar"
        if target.exists():
            continue
        start, skipped = time.monotonic(), 0
        with tarfile.open(target.with_suffix(".partial"), "w") as tar:
            for index, picture in enumerate(pictures[number * SHARD : (number + 1) * SHARD]):
                try:
                    content = parts(picture, cutter)
                except (OSError, ValueError) as problem:
                    skipped += 1
                    print(f"skipped {picture.source} {picture.paths[0]}: {problem}", flush=True)
                    continue
                for extension, data in content.items():
                    entry = tarfile.TarInfo(f"{number * SHARD + index:06d}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        os.replace(target.with_suffix(".partial"), target)
        print(f"{target.name}: {SHARD - skipped} pictures, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--part", default="0/1", help="K/N: this process makes every Nth shard, from the Kth")
    parser.add_argument("--first", type=int, default=0, help="begin with this shard")
    parser.add_argument("--shards", type=int, help="only so many")
    args = parser.parse_args()
    part, of = (int(number) for number in args.part.split("/"))
    pack(args.cache, part, of, args.first, args.shards)
