"""The list of training pictures, in a fixed random order, and the square that is cut from each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.photo.fetch import repository_folder
from recipes.photo.git_files import GitFiles
from recipes.photo.sources import HELD_BACK, SOURCES, Source

SIDE = 320
TOKENS = SIDE // 16  # along a side, where photo has a token for every 16 pixels
TILES = 4  # small pictures are put together, two by two


@dataclass(frozen=True)
class Picture:
    """One square picture to be made."""

    source: str
    paths: tuple[str, ...]  # one, or four that are put side by side
    crop: int
    held_back: bool  # for choices, not for training


def plan(files: dict[str, GitFiles], seed: int = 0) -> list[Picture]:
    """Every picture of every source, series after series, each in random order.

    The crops of one picture are held back or trained on together.
    """
    pictures = []
    for series in sorted({source.series for source in SOURCES}):
        of_series = _listed([source for source in SOURCES if source.series == series], files, seed)
        pictures += [of_series[i] for i in np.random.default_rng(seed).permutation(len(of_series))]
    return pictures


def _listed(sources: Sequence[Source], files: dict[str, GitFiles], seed: int) -> list[Picture]:
    pictures = []
    for source in sources:
        paths = sorted(path for path in files[source.name].paths() if re.fullmatch(source.pattern, path))
        chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(source.pictures, len(paths))).astype(int)]
        if source.side < SIDE:
            order = np.random.default_rng((seed, 1)).permutation(len(chosen))
            groups = [tuple(chosen[i] for i in order[k : k + TILES]) for k in range(0, len(order) - TILES + 1, TILES)]
        else:
            groups = [(path,) for path in chosen]
        for index, group in enumerate(groups):
            held_back = source.natural and index % HELD_BACK == 0
            pictures += [
                Picture(source.name, group, crop, held_back) for crop in range(1 if held_back else source.crops)
            ]
    return pictures


def open_sources(cache: Path) -> dict[str, GitFiles]:
    return {s.name: GitFiles(repository_folder(cache, s.repository), s.commit) for s in SOURCES}


class Cutter:
    """Makes the square of a picture: as sharp as the source allows, for the segmenters, then SIDE x SIDE."""

    def __init__(self, files: dict[str, GitFiles]) -> None:
        self.files = files
        self.sources = {source.name: source for source in SOURCES}
        self.said: dict[str, dict[str, list[str]]] = {}

    def square(self, picture: Picture) -> Image.Image:
        """The square, not yet scaled."""
        source = self.sources[picture.source]
        rng = np.random.default_rng([picture.crop, *picture.paths[0].encode()])
        tiles = [self._crop(source, path, rng, picture.crop) for path in picture.paths]
        if len(tiles) == 1:
            return tiles[0]
        whole = Image.new("RGB", (2 * source.side, 2 * source.side))
        for i, tile in enumerate(tiles):
            place = (i % 2 * source.side, i // 2 * source.side)
            whole.paste(scaled(tile, source.side), place)
        return whole

    def _crop(self, source: Source, path: str, rng: np.random.Generator, crop: int) -> Image.Image:
        image = Image.open(io.BytesIO(self.files[source.name].read(path)))
        image.draft("RGB", (4 * SIDE, 4 * SIDE))
        image = image.convert("RGB")
        smallest = 0.9 if crop == 0 else 0.55
        side = int(min(image.size) * rng.uniform(smallest, 1))
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        return image.crop((left, top, left + side, top + side))

    def words(self, picture: Picture) -> list[str | list[str]]:
        """The word that each path says; for a picture with captions or tags all of these."""
        source = self.sources[picture.source]
        if not (source.captions or source.tags[0]):
            return [source.word(path) for path in picture.paths]
        if source.name not in self.said:
            self.said[source.name] = said_by_image(source, self.files[source.name])
        return [self.said[source.name].get(path.rsplit("/", 1)[-1], []) for path in picture.paths]


def said_by_image(source: Source, files: GitFiles) -> dict[str, list[str]]:
    """The captions or the tags of every image of a source, by its file's name."""
    if source.captions:
        rows: dict[str, list[str]] = {}
        for row in csv.DictReader(io.StringIO(files.read(source.captions).decode())):
            rows.setdefault(row["image"], []).append(row["caption"])
        return rows
    lines, words = (files.read(path).decode().splitlines() for path in source.tags)
    numbers = [line.split() for line in lines if line.strip()]
    return {f"{image}.jpeg": [words[int(number) - 1].strip() for number in tags] for image, *tags in numbers}


def scaled(square: Image.Image, side: int = SIDE) -> Image.Image:
    larger = square.size[0] < side
    return square.resize((side, side), Image.Resampling.BICUBIC if larger else Image.Resampling.LANCZOS)
