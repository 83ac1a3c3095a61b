"""WebDataset shards: images in tar files, read without unpacking.

DIR/000000.tar       0001.jpg  0001.txt  0002.jpg  0002.txt ...      000000/0001, 000000/0002
DIR/000001.tar       0001.jpg  ...                                   000001/0001

The name of a member up to the first dot of its last part is the key of a sample, and the rest is its suffix
(WebDataset's rule). The member whose whole suffix is that of an image (.jpg, not .seg.png) is the sample's image; the
others are skipped. Only the position and the length of each image are kept in memory.
"""

from __future__ import annotations

import os
import tarfile
import warnings
from array import array
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ca_seg.data.classes import UNLABELLED
from ca_seg.data.dataset import ImageMaskPair
from ca_seg.data.formats.without_masks import ImagesWithoutMasks
from ca_seg.data.image_files import IMAGE_SUFFIXES, has_image_suffix
from ca_seg.data.read import HeldFile, read_image, read_size
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage

HEADER_BYTES = 1 << 16  # enough to know the size of nearly every image
HOW_TO_GET = "a folder of WebDataset shards (*.tar, not compressed), or one shard"


class WebDatasetShards(ImagesWithoutMasks):
    """The images of tar files.

    An image_id is the shard's name and the sample's key: "000000/0001". Shards are in the order of their names, images
    in the order of the shard. `image_path` is a name for messages, SHARD.tar/KEY.jpg: there is no such file.

    Args:
        root: a folder of shards, or one shard

    Raises:
        BadDataset: for no shard, one that is compressed, cut short or not a tar, two images of one key, a name that
            leads out of its folder, and shards without an image
    """

    def __init__(self, root: Path | str) -> None:
        root = Path(root)
        shards = sorted(root.glob("*.tar")) if root.is_dir() else [root]
        if not shards or not os.path.isfile(shards[0]):
            raise BadDataset(f"there is no shard in {root}", allowed=HOW_TO_GET)
        self._locations = array("q")  # three numbers per image: its shard, its first byte, its length in bytes
        self._shards, pairs = shards, []
        for number, shard in enumerate(shards):
            pairs += self._index(number, shard)
        if not pairs:
            raise BadDataset(f"{root} has no image", allowed=f"members that end in one of {', '.join(IMAGE_SUFFIXES)}")
        super().__init__(root if root.is_dir() else root.parent, None, UNLABELLED, pairs)

    def read_image(self, index: int) -> Tensor:
        return read_image(HeldFile(self.image_bytes(index), self.image_path(index)))

    def size(self, index: int) -> tuple[int, int]:
        name = self.image_path(index)
        try:
            return read_size(HeldFile(self._slice(index, HEADER_BYTES), name))
        except UnreadableImage:  # a rare image with a longer header
            return read_size(HeldFile(self.image_bytes(index), name))

    def image_bytes(self, index: int) -> bytes:
        return self._slice(index)

    def _slice(self, index: int, max_bytes: int | None = None) -> bytes:
        """The first bytes of an image, or all."""
        shard, start, length = self._locations[3 * index : 3 * index + 3]
        length = length if max_bytes is None else min(length, max_bytes)
        try:
            with open(self._shards[shard], "rb") as file:
                file.seek(start)
                content = file.read(length)
        except OSError as problem:
            raise UnreadableImage(f"{self._shards[shard]} cannot be read ({problem.strerror})") from problem
        if len(content) != length:
            raise UnreadableImage(f"{self.image_path(index)} is cut short", fix=f"copy {self._shards[shard]} again")
        return content

    def _index(self, number: int, shard: Path) -> list[ImageMaskPair]:
        pairs: list[ImageMaskPair] = []
        seen: set[str] = set()
        others: dict[str, str] = {}  # by key: members that end as an image does, but whose whole suffix does not
        for name, start, length in _members(shard):
            if ".." in name.split("/") or name.startswith("/"):
                raise BadDataset(f"{shard} has the member {name!r}", allowed="names that stay in their folder")
            folder, _, last = name.rpartition("/")
            key, _, suffix = last.partition(".")
            path = f"{folder}/{key}" if folder else key
            if f".{suffix.lower()}" not in IMAGE_SUFFIXES or not key:
                if has_image_suffix(last):
                    others.setdefault(path, name)
                continue
            if path in seen:
                raise BadDataset(f"{shard} has two images of the key {path!r}", fix="keep one of them")
            seen.add(path)
            pairs.append(ImageMaskPair(f"{shard.stem}/{path}", shard / f"{path}.{suffix}", shard))
            self._locations.extend((number, start, length))
        left_out = [name for path, name in others.items() if path not in seen]
        if left_out:
            more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            reason = "a key ends at the first dot, and the rest is not the suffix of an image; rename them"
            warnings.warn(f"{shard}: {left_out[0]}{more} left out: {reason}", stacklevel=2)
        return pairs


def _members(shard: Path) -> Sequence[tuple[str, int, int]]:
    """Name, first byte and length of every file in a tar, from its headers alone."""
    members = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.issparse():
                    raise BadDataset(
                        f"{shard} has the sparse member {member.name!r:.100}", fix="pack it without --sparse"
                    )
                if member.isfile():
                    members.append((member.name.removeprefix("./"), member.offset_data, member.size))
                tar.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header in memory
    except BadDataset:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, LookupError) as problem:
        reason = f"{shard} cannot be read as a tar ({problem})"
        raise BadDataset(reason, allowed=HOW_TO_GET, fix="copy it again") from problem
    size = shard.stat().st_size
    if any(length < 0 or start + length > size for _, start, length in members):
        raise BadDataset(f"{shard} is cut short", fix="copy it again")
    return members


def open_dataset(name: str, root: str, split: str | None) -> WebDatasetShards:
    if split is not None:
        raise UnknownName("split", split, ("none",), fix="give the folder of its shards as root")
    return WebDatasetShards(root)
