"""Features on disk: a frozen source sees each image once, and heads train on the stored result.

    FOLDER/3f9a.../            one sub-folder for each identity (source, type, versions); its name is the fingerprint
        identity.json          the identity, for people to read
        shard-8c01....safetensors        features of many images (`shard.py`); complete or absent, never changed
        shard-e77b....safetensors

Any number of processes may fill a cache at once. Each writes shards under names that no other process uses, and renames
them when they are complete. There is no other state, so a kill at any moment costs only the unfinished shard. (After a
power failure a shard may be present and incomplete: its checksums reveal that.)

There are three checks. Opening a cache reads the headers (a few milliseconds per shard). `verify` reads every byte once
per run, in a few threads. Every single read compares the checksum again, so that a bit which flips later is not trained
on either.
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
from ca_seg.features.identity import FILE, cache_identity, identity_differences, read_identity
from ca_seg.features.shard import Location, features_of, read_arrays, read_locations, write_shard
from ca_seg.features.stored import StoredFeatures
from ca_seg.fingerprint import fingerprint

THREADS = 4  # for verification
ABANDONED_SECONDS = 3600  # a partial file that is older belongs to a process that was killed


class FeatureCache:
    """The features of one identity in `folder`.

    It may be passed to the workers of a loader: files are opened for one read at a time. It takes about half a kilobyte
    of memory per image.

    Args:
        folder: of all caches; this one is a sub-folder
        source: what the feature source's `identity()` returns; the source itself is not needed to read
        dtype: float16 (with a scale for each channel, `stored.py`) or float32
        read_only: write and remove nothing; a missing cache is then an error that lists how the existing ones differ

    Raises:
        UnusableFeatures: a read-only cache is missing
        UnknownName: for another dtype
        UserError: the folder cannot be created
    """

    def __init__(
        self, folder: Path | str, source: Mapping[str, Any], *, dtype: str = "float16", read_only: bool = False
    ) -> None:
        self.identity = cache_identity(source, dtype)
        self.dtype, self.read_only = dtype, read_only
        self.fingerprint = fingerprint(self.identity)
        self.folder = Path(folder) / self.fingerprint
        self._shards: dict[str, dict[str, Location]] = {}  # by the shard's name, then by key
        self._shard_of: dict[str, str] = {}  # by key
        self._faults: dict[str, _Fault] = {}  # of shards that are not used
        self._checked: set[str] = set()  # shards that this object read in full, or wrote
        self._reported: set[str] = set()
        if read_only and not self.folder.is_dir():
            raise UnusableFeatures(_missing_text(Path(folder), self.identity))
        if not read_only and read_identity(self.folder) is None:
            self._write_identity()
        self.refresh()

    def __len__(self) -> int:
        return len(self._shard_of)

    def __contains__(self, key: str | None) -> bool:
        return key in self._shard_of

    def size(self, key: str) -> tuple[int, int]:
        """Height and width of the image of these features. Raises UnusableFeatures if they are missing."""
        return self._location(key)[1].size

    def read(self, key: str) -> torch.Tensor:
        """float32 [channels, h, w], as it was written. Raises UnusableFeatures if missing or damaged."""
        path, location = self._location(key)
        try:
            with open(path, "rb", buffering=0) as file:
                return features_of(*read_arrays(file, path, key, location))
        except OSError as problem:
            raise UnusableFeatures(f"{path} cannot be read ({problem.strerror})") from problem

    def store(self, images: Mapping[str, StoredFeatures]) -> None:
        """Write one shard, without images that another process has stored in the meantime.

        Raises UserError if it cannot be written; what was stored before remains valid.
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
        """Read the headers of shards that other processes have written, and forget shards that they have removed."""
        try:
            names = {name for name in os.listdir(self.folder) if name.endswith(".safetensors")}
        except OSError as problem:
            raise UserError(f"{self.folder} cannot be read ({problem.strerror})") from problem
        self._forget(self._shards.keys() - names)
        for name in sorted(names - self._shards.keys() - self._faults.keys()):
            try:
                self._shards[name] = read_locations(self.folder / name, self.fingerprint)
                self._shard_of |= dict.fromkeys(self._shards[name], name)
            except FileNotFoundError:
                continue  # removed a moment ago
            except (UnusableFeatures, OSError) as problem:
                self._faults[name] = _Fault.of(problem)

    def verify(self, *, rank: int = 0, world: int = 1, progress: bool = False) -> list[str]:
        """Read every byte that this object has not read before, and drop the shards that are damaged.

        A damaged shard is removed, unless the cache is read-only; one that the disk refuses to read stays. `fill`
        computes their images again.

        Args:
            rank: this process
            world: how many processes verify; each takes its part of the shards
            progress: show a bar

        Returns:
            one line for each shard that is not used
        """
        names = [n for n in self._shards.keys() - self._checked if zlib.crc32(n.encode()) % world == rank]
        with ThreadPoolExecutor(THREADS) as threads:
            results = threads.map(self._read_in_full, names)
            hidden = not (progress and names)
            faults = track(results, "verifying features", len(names), console=Console(stderr=True), disable=hidden)
            self._faults |= {name: fault for name, fault in zip(names, faults, strict=True) if fault is not None}
        self._checked |= set(names) - self._faults.keys()
        self._forget(self._faults.keys() & self._shards.keys())
        new = sorted(self._faults.keys() - self._reported)
        self._reported |= self._faults.keys()
        return [line for name in new if (line := self._set_aside(name))]

    def check_writable(self) -> None:
        """Raises UserError, before hours of work, if nothing can be written. Removes what killed processes left."""
        if self.read_only or not os.access(self.folder, os.W_OK):
            raise UserError(f"{self.folder} is read-only, and features are missing in it", fix="give another folder")
        for part in self.folder.glob("*.part"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                    part.unlink()

    def _location(self, key: str) -> tuple[Path, Location]:
        if key not in self._shard_of:
            raise UnusableFeatures(f"{self.folder} has no features of the image", fix="fill the cache again")
        name = self._shard_of[key]
        return self.folder / name, self._shards[name][key]

    def _read_in_full(self, name: str) -> _Fault | None:
        """What is wrong with a shard; None if every byte is as it was written."""
        path = self.folder / name
        try:
            with open(path, "rb", buffering=0) as file:
                for key, location in sorted(self._shards[name].items(), key=lambda item: item[1].start):
                    read_arrays(file, path, key, location)
        except (UnusableFeatures, OSError) as problem:
            return _Fault.of(problem)
        return None

    def _forget(self, names: set[str]) -> None:
        for name in names:
            del self._shards[name]
        if names:
            self._shard_of = {key: name for name, locations in self._shards.items() for key in locations}

    def _set_aside(self, name: str) -> str:
        """Remove a damaged shard. Returns the line to report, empty if another process has removed it already."""
        path, fault = self.folder / name, self._faults[name]
        if not path.exists():
            return ""
        if self.read_only:
            return f"{fault.text} Its images are skipped."
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
    """Why a shard is not used: it is damaged, or (which may pass) the disk refuses to read it."""

    text: str
    damaged: bool

    @classmethod
    def of(cls, problem: UnusableFeatures | OSError) -> _Fault:
        if isinstance(problem, UnusableFeatures):
            return cls(str(problem), True)
        return cls(f"{problem.filename} cannot be read ({problem.strerror}).", False)


def _missing_text(folder: Path, wanted: Mapping[str, Any]) -> str:
    """Why there is no such cache: how the most similar existing one differs."""
    existing = [identity for sub in sorted(folder.glob("*/")) if (identity := read_identity(sub)) is not None]
    if not existing:
        return f"{folder} contains no feature cache"
    fewest = min((identity_differences(wanted, identity) for identity in existing), key=len)
    others = f" ({len(existing) - 1} more differ as well)" if len(existing) > 1 else ""
    return f"{folder} has no features of this source: {'; '.join(fewest)}{others}"
