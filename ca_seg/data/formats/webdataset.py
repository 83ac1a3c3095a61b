"""WebDataset shards: images in tar files, read where they lie, without unpacking.

DIR/000000.tar       0001.jpg  0001.txt  0002.jpg  0002.txt ...      000000/0001, 000000/0002
DIR/000001.tar       0001.jpg  ...                                   000001/0001: another image

A name up to the first dot of its last part is the key of a sample, the rest says what the file is (WebDataset's rule).
The member whose ending is exactly that of an image (.jpg, and not .seg.png) is the sample's image; the others are
left alone. What is kept of a shard is where its images begin and how long they are.
"""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ca_seg.data.classes import UNLABELLED
from ca_seg.data.dataset import Pair
from ca_seg.data.formats.unmasked import Unmasked
from ca_seg.data.image_files import IMAGE_SUFFIXES
from ca_seg.data.read import HeldFile, read_image, read_size
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage

HEAD = 1 << 16  # bytes that are read to know an image's size
HOW_TO_GET = "a folder of WebDataset shards (*.tar, not compressed), or one shard"


class Shards(Unmasked):
    """The images of tar files; their masks are void throughout, [H, W] of 255.

    A stem is the shard's name and the sample's key: "000000/0001". Shards come in the order of their names, images
    as they lie in them. `image_path` is a name for messages, SHARD.tar/KEY.jpg: there is no such file.

    Raises BadDataset for no shard, one that is compressed, cut short or no tar, two images in one sample, two samples
    of one key, a name that leads out of its folder, and shards without an image.
    """

    def __init__(self, root: Path | str) -> None:
        given = Path(root)
        shards = sorted(given.glob("*.tar")) if given.is_dir() else [given]
        if not shards or not shards[0].is_file():
            raise BadDataset(f"there is no shard in {given}", allowed=HOW_TO_GET)
        self._places = array("q")  # shard, first byte, bytes of every image
        self._shards, pairs = shards, []
        for number, shard in enumerate(shards):
            pairs += self._index(number, shard)
        if not pairs:
            raise BadDataset(f"{given} has no image", allowed=f"members that end in one of {', '.join(IMAGE_SUFFIXES)}")
        super().__init__(given if given.is_dir() else given.parent, None, UNLABELLED, pairs)

    def read_image(self, index: int) -> Tensor:
        return read_image(HeldFile(self.image_bytes(index), self.image_path(index)))

    def size(self, index: int) -> tuple[int, int]:
        name = self.image_path(index)
        try:
            return read_size(HeldFile(self._slice(index, HEAD), name))
        except UnreadableImage:  # a head as long as this is rare
            return read_size(HeldFile(self.image_bytes(index), name))

    def image_bytes(self, index: int) -> bytes:
        return self._slice(index)

    def _slice(self, index: int, most: int | None = None) -> bytes:
        """The first `most` bytes of an image, or all."""
        shard, start, length = self._places[3 * index : 3 * index + 3]
        length = length if most is None else min(length, most)
        try:
            with open(self._shards[shard], "rb") as file:
                file.seek(start)
                content = file.read(length)
        except OSError as problem:
            raise UnreadableImage(f"{self._shards[shard]} cannot be read ({problem.strerror})") from problem
        if len(content) != length:
            raise UnreadableImage(f"{self.image_path(index)} is cut short", fix=f"copy {self._shards[shard]} again")
        return content

    def _index(self, number: int, shard: Path) -> list[Pair]:
        pairs: list[Pair] = []
        seen: set[str] = set()
        for name, start, length in _members(shard):
            if ".." in name.split("/") or name.startswith("/"):
                raise BadDataset(f"{shard} has the member {name!r}", allowed="names that stay in their folder")
            folder, _, last = name.rpartition("/")
            key, _, ending = last.partition(".")
            if f".{ending.lower()}" not in IMAGE_SUFFIXES or not key:
                continue
            path = f"{folder}/{key}" if folder else key
            if path in seen:
                raise BadDataset(f"{shard} has two images of the key {path!r}", fix="keep one of them")
            seen.add(path)
            pairs.append(Pair(f"{shard.stem}/{path}", shard / f"{path}.{ending}", shard))
            self._places.extend((number, start, length))
        return pairs


def _members(shard: Path) -> Sequence[tuple[str, int, int]]:
    """Name, first byte and bytes of every file in a tar, from its headers alone."""
    found = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isfile():
                    found.append((member.name.removeprefix("./"), member.offset_data, member.size))
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
    except (tarfile.TarError, OSError, EOFError) as problem:
        reason = f"{shard} cannot be read as a tar ({problem})"
        raise BadDataset(reason, allowed=HOW_TO_GET, fix="copy it again") from problem
    if found and found[-1][1] + found[-1][2] > shard.stat().st_size:
        raise BadDataset(f"{shard} is cut short", fix="copy it again")
    return found


def open_dataset(name: str, root: str, split: str | None) -> Shards:
    if split is not None:
        raise UnknownName("split", split, ("none",), fix="give the folder of its shards as root")
    return Shards(root)
