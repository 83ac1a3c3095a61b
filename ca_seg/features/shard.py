"""One file of a cache: the features of many images in safetensors, with a checksum for each image.

    8 bytes, header (JSON)     "KEY": float16 [channels, h, w]      "KEY.scale": float32 [channels]
                               "__metadata__": the cache's fingerprint, and for every KEY
                                               [checksum, height, width of the image]
    the scales, the values

The checksum (CRC-32, which detects every single flipped bit) covers an image's key, type, shape, size, scale and
values, so a bit that flips anywhere in the file is detected when the header is read or when the image is.

The header is parsed here and not by `safetensors.safe_open`, which gives no offsets and reads through a memory map:
with it a file that is truncated while it is open kills the process (SIGBUS) instead of being an error, and the resident
memory grows to the size of the cache. Reading by seek and read is as fast.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from safetensors.torch import save

from ca_seg.atomic import atomic_write
from ca_seg.errors import UnusableFeatures
from ca_seg.features.stored import StoredFeatures, to_features

_TYPES = {"F16": np.float16, "F32": np.float32}
_BROKEN = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, struct.error)


class Location(NamedTuple):
    """Where the features of one image are in their shard."""

    start: int  # of the values, in bytes
    scale: int  # start of the scale; -1: no scale
    shape: tuple[int, int, int]  # channels, h, w
    size: tuple[int, int]  # height and width of the image
    checksum: int


def write_shard(path: Path, images: Mapping[str, StoredFeatures], fingerprint: str) -> None:
    """Write the features of `images`, by key, to a new file; this needs as much memory again as the features.

    Raises:
        UserError: it cannot be written; there is then no file
    """
    tensors, about = {}, {}
    for key, stored in images.items():
        tensors[key] = stored.values
        if stored.scale is not None:
            tensors[f"{key}.scale"] = stored.scale
        scale = None if stored.scale is None else stored.scale.numpy()
        about[key] = [_checksum(key, stored.size, stored.values.numpy(), scale), *stored.size]
    metadata = {"fingerprint": fingerprint, "images": json.dumps(about)}
    with atomic_write(path, fix="free room, or give another folder for the cache") as part:
        part.write_bytes(save(tensors, metadata))  # save_file would let nobody else read it (mode 600)


def read_locations(path: Path, fingerprint: str) -> dict[str, Location]:
    """Where the features of each image are, by key, from a shard's header.

    Raises:
        UnusableFeatures: the file is no complete shard of this cache
        OSError: it cannot be read
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        head = file.read(8)
        start = 8 + (struct.unpack("<Q", head)[0] if len(head) == 8 else length)
        header = file.read(start - 8) if start <= length else b""
    try:
        tensors = json.loads(header)
        about = tensors.pop("__metadata__")
        images = json.loads(about["images"])
        if about["fingerprint"] != fingerprint:
            raise ValueError("it is of another cache")
        ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
        if start + max(ends, default=0) != length:
            raise ValueError("it is truncated, or too long")
        scaled = sum(f"{key}.scale" in tensors for key in images)
        if len(tensors) != len(images) + scaled:
            raise ValueError("its header is damaged")
        return {key: _location(tensors, key, entry, start) for key, entry in images.items()}
    except _BROKEN as problem:
        why = str(problem) if type(problem) is ValueError else "its header is damaged"
        raise UnusableFeatures(f"{path} is no complete shard of this cache ({why})") from problem


def read_arrays(file: BinaryIO, path: Path, key: str, location: Location) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and scale of one image of an open shard, after comparing their checksum. See `features_of`.

    Raises:
        UnusableFeatures: a byte is not as it was written
        OSError: it cannot be read
    """
    values = np.empty(location.shape, np.float32 if location.scale < 0 else np.float16)
    scale = None if location.scale < 0 else np.empty(location.shape[0], np.float32)
    complete = _read(file, location.start, values) and (scale is None or _read(file, location.scale, scale))
    if not complete or _checksum(key, location.size, values, scale) != location.checksum:
        raise UnusableFeatures(f"features in {path} are damaged")
    return values, scale


def features_of(values: np.ndarray, scale: np.ndarray | None) -> torch.Tensor:
    """float32 [channels, h, w]."""
    return to_features(torch.from_numpy(values), None if scale is None else torch.from_numpy(scale))


def _read(file: BinaryIO, start: int, array: np.ndarray) -> bool:
    """Fill an array; False if the file ends before."""
    view = array.data.cast("B")
    file.seek(start)
    filled = 0
    while filled < len(view):
        count = file.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            return False
        filled += count
    return True


def _checksum(key: str, size: tuple[int, int], values: np.ndarray, scale: np.ndarray | None) -> int:
    """CRC-32 of everything that an image's features consist of."""
    first = zlib.crc32(f"{key} {values.dtype} {values.shape} {size}".encode())
    return zlib.crc32(values.data, first if scale is None else zlib.crc32(scale.data, first))


def _location(tensors: Mapping, key: str, entry: list[int], start: int) -> Location:
    """Raises one of _BROKEN for a header that contradicts itself."""
    values, scale = tensors[key], tensors.get(f"{key}.scale")
    checksum, height, width = entry
    channels, h, w = values["shape"]
    wanted = "F32" if scale is None else "F16"
    fits = values["dtype"] == wanted and _length(values) == channels * h * w * np.dtype(_TYPES[wanted]).itemsize
    if scale is not None:
        fits = fits and scale["dtype"] == "F32" and scale["shape"] == [channels] and _length(scale) == 4 * channels
    if not fits or min(channels, h, w, height, width) < 1:
        raise ValueError("its header is damaged")
    begin = -1 if scale is None else start + scale["data_offsets"][0]
    return Location(start + values["data_offsets"][0], begin, (channels, h, w), (height, width), checksum)


def _length(tensor: Mapping) -> int:
    start, end = tensor["data_offsets"]
    if start < 0:
        raise ValueError("its header is damaged")
    return end - start
