"""Features on disk: a frozen source sees each image once, and heads train from what it gave.

    FOLDER/3f9a.../            one sub-folder for each identity (source, type, versions), its name the fingerprint
        identity.json          the identity, to be read by people
        shard-8c01....safetensors        features of many images (`shard.py`), whole or not there, never changed
        shard-e77b....safetensors

Any number of processes may fill a cache at once: each writes shards under names that no other process uses, and renames
them into place when they are whole. There is no other state, so a kill at any moment costs the unfinished shard alone.
(After a loss of power a shard may be there and not be whole: its checksums tell.)

Who checks what: opening reads the headers (some milliseconds a shard). `verify` reads every byte once a run, in a few
threads. Every single read compares the checksum again, so that a bit which flips later is not trained on either.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch
from rich.console import Console
from rich.progress import track

from ca_seg.atomic import atomic_write
from ca_seg.errors import UnusableFeatures, UserError
from ca_seg.features.identity import FILE, cache_identity, differences, fingerprint, read_identity
from ca_seg.features.shard import Place, features_of, read_arrays, read_places, write_shard
from ca_seg.features.stored import StoredFeatures

THREADS = 4  # that verify
ABANDONED = 3600  # seconds after which a half-written file belongs to a process that was killed


class FeatureCache:
    """The features of one identity in `folder`.

    `source` is what the feature source's `identity()` gives; the source itself is not needed to read. `dtype` is
    float16 (with a scale for each channel, `stored.py`) or float32. With `read_only` nothing is written or removed, and
    a cache that is not there is an error that says in what those that are there differ.

    It may be given to the workers of a loader: files are opened for one read at a time. It holds about half a kilobyte
    an image.

    Raises UnusableFeatures, UnknownName for another dtype, and UserError for a folder that cannot be made.
    """

    def __init__(
        self, folder: Path | str, source: Mapping[str, Any], *, dtype: str = "float16", read_only: bool = False
    ) -> None:
        self.identity = cache_identity(source, dtype)
        self.dtype, self.read_only = dtype, read_only
        self.fingerprint = fingerprint(self.identity)
        self.folder = Path(folder) / self.fingerprint
        self._shards: dict[str, dict[str, Place]] = {}  # by the shard's name
        self._where: dict[str, str] = {}  # the shard of each key
        self._faults: dict[str, _Fault] = {}  # of shards that are not used
        self._checked: set[str] = set()  # shards that were read whole, or written, by this
        self._told: set[str] = set()
        if read_only and not self.folder.is_dir():
            raise UnusableFeatures(*_not_there(Path(folder), self.identity))
        if not read_only and read_identity(self.folder) is None:
            self._write_identity()
        self.refresh()

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str | None) -> bool:
        return key in self._where

    def size(self, key: str) -> tuple[int, int]:
        """Height and width of the image of these features. Raises UnusableFeatures where there are none."""
        return self._place(key)[1].size

    def read(self, key: str) -> torch.Tensor:
        """float32 [channels, h, w], as it was written. Raises UnusableFeatures where there are none, or damaged."""
        path, place = self._place(key)
        try:
            with open(path, "rb", buffering=0) as file:
                return features_of(*read_arrays(file, path, key, place))
        except OSError as problem:
            raise UnusableFeatures(f"{path} cannot be read ({problem.strerror})") from problem

    def store(self, images: Mapping[str, StoredFeatures]) -> None:
        """Write one shard, without those that another process has stored meanwhile.

        Raises UserError when it cannot be written; what was there before is still good.
        """
        if not images:
            return
        self.refresh()
        new = {key: stored for key, stored in images.items() if key not in self}
        if new:
            name = f"shard-{uuid4().hex}.safetensors"
            write_shard(self.folder / name, new, self.fingerprint)
            self._checked.add(name)
            self.refresh()

    def refresh(self) -> None:
        """Take up what other processes have written, and forget what they have removed."""
        try:
            names = {name for name in os.listdir(self.folder) if name.endswith(".safetensors")}
        except OSError as problem:
            raise UserError(f"{self.folder} cannot be read ({problem.strerror})") from problem
        self._forget(self._shards.keys() - names)
        for name in sorted(names - self._shards.keys() - self._faults.keys()):
            try:
                self._shards[name] = read_places(self.folder / name, self.fingerprint)
                self._where |= dict.fromkeys(self._shards[name], name)
            except FileNotFoundError:
                continue  # removed a moment ago
            except (UnusableFeatures, OSError) as problem:
                self._faults[name] = _Fault.of(problem)

    def verify(self, *, rank: int = 0, world: int = 1, progress: bool = False) -> list[str]:
        """Read every byte that was not read before by this, and drop the shards that are damaged.

        One line for each of them; their images are no longer there, and `fill` computes them again. A damaged shard
        is removed, unless the cache is read-only; one that the disk refuses to read is left where it is. Of several
        processes each takes its share.
        """
        names = [n for n in self._shards.keys() - self._checked if zlib.crc32(n.encode()) % world == rank]
        with ThreadPoolExecutor(THREADS) as threads:
            found = threads.map(self._read_whole, names)
            hidden = not (progress and names)
            shown = track(found, "verifying features", len(names), console=Console(stderr=True), disable=hidden)
            self._faults |= {name: fault for name, fault in zip(names, shown, strict=True) if fault is not None}
        self._checked |= set(names) - self._faults.keys()
        self._forget(self._faults.keys() & self._shards.keys())
        new = sorted(self._faults.keys() - self._told)
        self._told |= self._faults.keys()
        return [line for name in new if (line := self._set_aside(name))]

    def check_writable(self) -> None:
        """Before hours of work: raises UserError where nothing can be written. Removes what killed processes left."""
        if self.read_only or not os.access(self.folder, os.W_OK):
            raise UserError(f"{self.folder} is read-only, and features are missing in it", fix="give another folder")
        for part in self.folder.glob("*.part"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > ABANDONED:
                    part.unlink()

    def _place(self, key: str) -> tuple[Path, Place]:
        if key not in self._where:
            raise UnusableFeatures(f"{self.folder} has no features of the image", fix="fill the cache again")
        name = self._where[key]
        return self.folder / name, self._shards[name][key]

    def _read_whole(self, name: str) -> _Fault | None:
        """What is wrong with a shard; None when every byte is as it was written."""
        path = self.folder / name
        try:
            with open(path, "rb", buffering=0) as file:
                for key, place in sorted(self._shards[name].items(), key=lambda item: item[1].start):
                    read_arrays(file, path, key, place)
        except (UnusableFeatures, OSError) as problem:
            return _Fault.of(problem)
        return None

    def _forget(self, names: set[str]) -> None:
        for name in names:
            del self._shards[name]
        if names:
            self._where = {key: name for name, places in self._shards.items() for key in places}

    def _set_aside(self, name: str) -> str:
        """Remove a damaged shard; what to tell of it, or nothing where another process has removed it already."""
        path, fault = self.folder / name, self._faults[name]
        if not path.exists():
            return ""
        if self.read_only:
            return f"{fault.text} Its images are left out."
        if fault.damaged:
            with suppress(OSError):
                path.unlink()
        return f"{fault.text} Its images are computed again."

    def _write_identity(self) -> None:
        text = json.dumps(self.identity, indent=1, ensure_ascii=False) + "\n"
        with atomic_write(
            self.folder / FILE, fix="give another folder for the cache", part=f"{uuid4().hex}.part"
        ) as part:
            part.write_text(text, encoding="utf-8")


class _Fault(NamedTuple):
    """Why a shard is not used; a damaged one is worth nothing, one that the disk refuses to read may come back."""

    text: str
    damaged: bool

    @classmethod
    def of(cls, problem: UnusableFeatures | OSError) -> _Fault:
        if isinstance(problem, UnusableFeatures):
            return cls(str(problem), True)
        return cls(f"{problem.filename} cannot be read ({problem.strerror}).", False)


def _not_there(folder: Path, wanted: Mapping[str, Any]) -> tuple[str]:
    """What to say of a cache that is missing: in what the nearest of those that are there differs."""
    there = [found for sub in sorted(folder.glob("*/")) if (found := read_identity(sub)) is not None]
    if not there:
        return (f"{folder} holds no feature cache",)
    nearest = min((differences(wanted, identity) for identity in there), key=len)
    others = f" ({len(there) - 1} more differ as well)" if len(there) > 1 else ""
    return (f"{folder} has no features of this source: {'; '.join(nearest)}{others}",)
