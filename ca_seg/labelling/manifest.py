"""The manifest of a labelling run: which images are done, one JSON line each, so that a killed run goes on.

    {"manifest": 1, "fingerprint": "9f..."}                                  the header: which run this folder is of
    {"key": "a/0001", "image": "a/0001.jpg", "height": 512, ...}             an image whose files are all written
    {"key": "a/0002", "pict                                                  a kill: cut off when the run goes on

Every process of a run has a manifest of its own; `merge_manifests` joins them.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import filelock

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.keys import key_order

VERSION = 1
HEADER = b'{"manifest"'  # how every header begins


class Manifest:
    """The manifest of one process, open for more lines; a context manager.

    Opening makes the file with its header, or goes on with one: half a line at its end, as a kill leaves it, is cut
    off. Raises UserError when the file is of another run (its fingerprint differs), is no manifest, or is open in
    another process and stays so for `patience` seconds.
    """

    def __init__(self, path: Path, fingerprint: str, *, patience: float = 0) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=patience)
        except filelock.Timeout as problem:
            raise UserError(
                f"{self.path} is being written by another process", fix="give each process its own manifest"
            ) from problem
        try:
            self._size = _whole_lines(self.path, fingerprint)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  closed by close()
            self._file.truncate(self._size)
            if self._size == 0:
                self._append({"manifest": VERSION, "fingerprint": fingerprint})
            self._keys = {entry.key for entry in read_entries(self.path, fingerprint)}
        except BaseException:
            self.close()
            raise

    @property
    def keys(self) -> frozenset[str]:
        """The images that are done."""
        return frozenset(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, entry: Entry) -> None:
        """Append one line, on the disk when this returns. Call it after all files of the image are written.

        Raises UserError for a key that is there already: two images that differ in their ending only.
        """
        if entry.key in self._keys:
            raise UserError(f"{entry.key} is in {self.path} already", fix="give the two images different names")
        self._append(vars(entry))
        self._keys.add(entry.key)

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        self._lock.release()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content).encode("ascii") + b"\n"
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as problem:
            self._file.truncate(self._size)  # the next line must not stand behind half of this one
            raise UserError(f"{self.path} cannot be written ({problem.strerror})", fix="free room") from problem
        self._size += len(line)


def read_entries(path: Path, fingerprint: str | None = None) -> Iterator[Entry]:
    """The entries of a manifest, line by line; half a line at its end is left out. May be read while it is written.

    Raises UserError when it is no manifest, is of another run than `fingerprint`, or has a broken line.
    """
    for _, _, entry in _lines(path, fingerprint):
        yield entry


def done(paths: Sequence[Path], fingerprint: str) -> dict[str, str]:
    """The images that are done in any of these manifests: key -> sha256 of the image's file.

    Raises UserError as `read_entries` does.
    """
    return {entry.key: entry.sha256 for path in paths for entry in read_entries(path, fingerprint)}


def merge_manifests(paths: Sequence[Path], target: Path, fingerprint: str, *, earlier: Path | None = None) -> int:
    """Join the manifests of the processes of a run into one, sorted by key; gives the number of images.

    `earlier` is a manifest whose entries give way to those in `paths`: images that changed were labelled again. It
    may be the target. Memory holds one key and place for each image, never the entries. Raises UserError when a key
    is in two of `paths`, for then two processes wrote the same files, and as `read_entries` does.
    """
    places: list[tuple[list[str], int, int, int]] = []
    for number, path in enumerate(paths):
        places += [(key_order(entry.key), number, start, length) for start, length, entry in _lines(path, fingerprint)]
    places.sort()
    for one, two in pairwise(places):
        if one[0] == two[0]:
            where = f"{paths[one[1]]} and {paths[two[1]]}" if one[1] != two[1] else f"{paths[one[1]]} twice"
            raise UserError(f"{'/'.join(one[0])} is in {where}", fix="give every process other images")
    if earlier is not None:
        newer = {"/".join(place[0]) for place in places}
        kept = ((entry.key, start, length) for start, length, entry in _lines(earlier, fingerprint))
        places += [(key_order(key), len(paths), start, length) for key, start, length in kept if key not in newer]
        places.sort()
        paths = [*paths, earlier]
    files = [open(path, "rb") for path in paths]  # noqa: SIM115
    try:
        with atomic_write(target) as part, open(part, "wb") as merged:
            merged.write(json.dumps({"manifest": VERSION, "fingerprint": fingerprint}).encode("ascii") + b"\n")
            for _, number, start, length in places:
                files[number].seek(start)
                merged.write(files[number].read(length))
            merged.flush()
            os.fsync(merged.fileno())
    finally:
        for file in files:
            file.close()
    return len(places)


def _lines(path: Path, fingerprint: str | None) -> Iterator[tuple[int, int, Entry]]:
    """Start and length in bytes of every whole line after the header, and its entry."""
    if not Path(path).is_file():
        raise UserError(f"there is no manifest {path}")
    start = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            if number == 1:
                _check_header(path, line, fingerprint)
            else:
                yield start, len(line), _entry(path, number, line)
            start += len(line)
    if start == 0:
        raise UserError(f"{path} has no header, so it is no manifest", fix="remove it, or give another folder")


def _check_header(path: Path, line: bytes, fingerprint: str | None) -> None:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("manifest") != VERSION or "fingerprint" not in header:
        raise UserError(f"{path} is no manifest of version {VERSION}", fix="give another folder")
    if fingerprint is not None and header["fingerprint"] != fingerprint:
        raise UserError(
            f"{path} is of another run: its fingerprint is {header['fingerprint']}, this run's is {fingerprint}",
            fix="give another folder, or the settings that the folder was begun with",
        )


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        content = json.loads(line)
        known = {field.name for field in fields(Entry)}
        if set(content) != known or not isinstance(content["key"], str):
            raise ValueError(f"its fields are {', '.join(sorted(content))}")
        return Entry(**{**content, "outputs": tuple(content["outputs"])})
    except (ValueError, TypeError) as problem:
        raise UserError(f"{path}, line {number}, is no entry ({problem})", fix="remove the line") from problem


def _whole_lines(path: Path, fingerprint: str) -> int:
    """How many bytes the whole lines of a manifest have; 0 when there is none yet, or half a header.

    Raises UserError for a file that is no manifest, or of another run: it would be cut.
    """
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        first = file.readline()
        if not first.endswith(b"\n"):
            if not (first.startswith(HEADER) or HEADER.startswith(first)):
                raise UserError(f"{path} is no manifest", fix="give another folder")
            return 0
        _check_header(path, first, fingerprint)
        place = file.seek(0, os.SEEK_END)
        while True:
            begin = max(0, place - 4096)
            file.seek(begin)
            found = file.read(place - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            place = begin
