"""One file of a cache: the features of many images in safetensors, with a checksum for each image.

    8 bytes, header (JSON)     "KEY": float16 [channels, h, w]      "KEY.scale": float32 [channels]
                               "__metadata__": the cache's fingerprint, and for every KEY
                                               [checksum, height, width of the image]
    the scales, the values

The checksum (CRC-32, which finds any one flipped bit for sure) covers an image's key, type, shape, size, scale and
values: a bit that flips anywhere in the file is found when the header is read or when the image is. Single images
are read by seek and read and not through a memory map: it is as quick, the resident memory does not grow to the size
of the cache, and a file that is cut short while it is open is an error and not a dead process.
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


class Place(NamedTuple):
    """Where one image lies in its shard."""

    start: int  # of the values, in bytes
    scale: int  # start of the scale; -1 where there is none
    shape: tuple[int, int, int]  # channels, h, w
    size: tuple[int, int]  # height and width of the image
    checksum: int


def write_shard(path: Path, images: Mapping[str, StoredFeatures], fingerprint: str) -> None:
    """Needs as much memory again as the features have. Raises UserError when it cannot be written: there is no file."""
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


def read_places(path: Path, fingerprint: str) -> dict[str, Place]:
    """What a shard holds, from its header.

    Raises UnusableFeatures for a file that is not a whole shard of this cache, OSError for one that cannot be read.
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
            raise ValueError("it is cut short, or too long")
        scaled = sum(f"{key}.scale" in tensors for key in images)
        if len(tensors) != len(images) + scaled:
            raise ValueError("its header is damaged")
        return {key: _place(tensors, key, known, start) for key, known in images.items()}
    except _BROKEN as problem:
        why = str(problem) if type(problem) is ValueError else "its header is damaged"
        raise UnusableFeatures(f"{path} is no whole shard of this cache ({why})") from problem


def read_arrays(file: BinaryIO, path: Path, key: str, place: Place) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and scale of one image of an open shard, their checksum compared. See `features_of`.

    Raises UnusableFeatures when a byte is not as it was written, OSError when it cannot be read.
    """
    values = np.empty(place.shape, np.float32 if place.scale < 0 else np.float16)
    scale = None if place.scale < 0 else np.empty(place.shape[0], np.float32)
    whole = _read(file, place.start, values) and (scale is None or _read(file, place.scale, scale))
    if not whole or _checksum(key, place.size, values, scale) != place.checksum:
        raise UnusableFeatures(f"features in {path} are damaged")
    return values, scale


def features_of(values: np.ndarray, scale: np.ndarray | None) -> torch.Tensor:
    """float32 [channels, h, w]."""
    return to_features(torch.from_numpy(values), None if scale is None else torch.from_numpy(scale))


def _read(file: BinaryIO, start: int, array: np.ndarray) -> bool:
    """Fill an array; False where the file ends before."""
    view = array.data.cast("B")
    file.seek(start)
    got = 0
    while got < len(view):
        count = file.readinto(view[got:])  # type: ignore[attr-defined]
        if not count:
            return False
        got += count
    return True


def _checksum(key: str, size: tuple[int, int], values: np.ndarray, scale: np.ndarray | None) -> int:
    """CRC-32 of all that an image's features are made of."""
    first = zlib.crc32(f"{key} {values.dtype} {values.shape} {size}".encode())
    return zlib.crc32(values.data, first if scale is None else zlib.crc32(scale.data, first))


def _place(tensors: Mapping, key: str, known: list[int], start: int) -> Place:
    """Raises one of _BROKEN for what does not fit together."""
    values, scale = tensors[key], tensors.get(f"{key}.scale")
    checksum, height, width = known
    channels, h, w = values["shape"]
    wanted = "F32" if scale is None else "F16"
    fits = values["dtype"] == wanted and _length(values) == channels * h * w * np.dtype(_TYPES[wanted]).itemsize
    if scale is not None:
        fits = fits and scale["dtype"] == "F32" and scale["shape"] == [channels] and _length(scale) == 4 * channels
    if not fits or min(channels, h, w, height, width) < 1:
        raise ValueError("its header is damaged")
    begin = -1 if scale is None else start + scale["data_offsets"][0]
    return Place(start + values["data_offsets"][0], begin, (channels, h, w), (height, width), checksum)


def _length(tensor: Mapping) -> int:
    start, end = tensor["data_offsets"]
    if start < 0:
        raise ValueError("its header is damaged")
    return end - start
