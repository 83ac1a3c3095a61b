"""The manifest of a labelling run: which images have labels, one JSON line each, so that a killed run can resume.

    {"manifest": 2, "fingerprint": "9f..."}                           the header: the settings of the run
    {"key": "a/0001", "image": "a/0001.jpg", "height": 512, ...}      an image whose files are all written
    {"key": "a/0002", "ima                                            what a kill leaves; cut off when the run resumes

Every process of a run has a manifest of its own; `merge_manifests` joins them. Version 1, which named the image
"picture", is read but not continued.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from ca_seg.atomic import atomic_write
from ca_seg.bounded_files import parse_json
from ca_seg.errors import UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.keys import key_order

VERSION = 2
READABLE = (1, VERSION)
HEADER = b'{"manifest"'  # how every header begins
BLOCK = 4096  # bytes that are read at once, from the end


class Manifest:
    """The manifest of one process, open for appending; a context manager.

    Opening creates the file with its header, or continues it: a partial line at its end, which a kill leaves, is cut
    off.

    Args:
        path: the file
        fingerprint: of the settings that the labels depend on
        patience: seconds to wait for another process that has it open

    Raises:
        UserError: when the file is of other settings, is not a manifest, or stays open in another process
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
            self._size = _complete_bytes(self.path, fingerprint)
            self._file = _opened(self.path)
            self._file.truncate(self._size)
            if self._size == 0:
                self._append({"manifest": VERSION, "fingerprint": fingerprint})
            self._keys = {entry.key for entry in read_entries(self.path, fingerprint)}
        except BaseException:
            self.close()
            raise

    @property
    def keys(self) -> frozenset[str]:
        """The images that have labels."""
        return frozenset(self._keys)

    def add(self, entry: Entry) -> None:
        """Append a line, which is on the disk when this returns. To be called when all files of the image are written.

        Raises UserError for a key that is there already (two images whose names differ only in their ending), and when
        the file cannot be written.
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
            self._file.truncate(self._size)  # the next line must not follow a part of this one
            raise UserError(f"{self.path} cannot be written ({problem.strerror})", fix="free room") from problem
        self._size += len(line)


def read_entries(path: Path, fingerprint: str | None = None) -> Iterator[Entry]:
    """The entries of a manifest, line by line, without a partial line at its end. It may be read while it is written.

    Raises UserError when it is not a manifest, its fingerprint is not `fingerprint`, or it has a broken line.
    """
    for _, _, entry in _lines(path, fingerprint):
        yield entry


def merge_manifests(paths: Sequence[Path], target: Path, fingerprint: str, *, earlier: Path | None = None) -> int:
    """Join the manifests of the processes of a run into one, sorted by key.

    Memory holds the key and the position of each line, never the entries.

    Args:
        paths: the manifests of the processes
        target: the file to write, which may be `earlier`
        fingerprint: of the run
        earlier: a manifest whose entries are replaced by those in `paths`: changed images were labelled again

    Returns:
        The number of images.

    Raises:
        UserError: when a key is in two of `paths`, as two processes wrote the same files then, and as `read_entries`
    """
    lines: list[tuple[list[str], int, int, int]] = []  # key, index of the file, start, length
    for number, path in enumerate(paths):
        lines += [(key_order(entry.key), number, start, length) for start, length, entry in _lines(path, fingerprint)]
    lines.sort()
    for first, second in pairwise(lines):
        if first[0] == second[0]:
            files = dict.fromkeys(str(paths[line[1]]) for line in (first, second))
            where = " and ".join(files) if len(files) > 1 else f"{next(iter(files))} twice"
            raise UserError(f"{'/'.join(first[0])} is in {where}", fix="give every process other images")
    if earlier is not None:
        newer = {"/".join(line[0]) for line in lines}
        former = ((entry.key, start, length) for start, length, entry in _lines(earlier, fingerprint))
        lines += [(key_order(key), len(paths), start, length) for key, start, length in former if key not in newer]
        lines.sort()
        paths = [*paths, earlier]
    sources = [open(path, "rb") for path in paths]  # noqa: SIM115  closed below
    try:
        with atomic_write(target) as part, open(part, "wb") as merged:
            merged.write(json.dumps({"manifest": VERSION, "fingerprint": fingerprint}).encode("ascii") + b"\n")
            for _, number, start, length in lines:
                sources[number].seek(start)
                merged.write(sources[number].read(length))
            merged.flush()
            os.fsync(merged.fileno())
    finally:
        for source in sources:
            source.close()
    return len(lines)


def _lines(path: Path, fingerprint: str | None) -> Iterator[tuple[int, int, Entry]]:
    """Start and length in bytes of every complete line after the header, and its entry."""
    if not Path(path).is_file():
        raise UserError(f"there is no manifest {path}")
    start = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            if number == 1:
                _check_header(path, line, fingerprint, READABLE)
            else:
                yield start, len(line), _entry(path, number, line)
            start += len(line)
    if start == 0:
        raise UserError(f"{path} has no header, so it is not a manifest", fix="remove it, or give another folder")


def _check_header(path: Path, line: bytes, fingerprint: str | None, versions: Sequence[int]) -> None:
    try:
        header = parse_json(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("manifest") not in versions or "fingerprint" not in header:
        allowed = f"a manifest of version {' or '.join(map(str, versions))}"
        raise UserError(f"{path} is not a manifest of this version", allowed=allowed, fix="give another folder")
    if fingerprint is not None and header["fingerprint"] != fingerprint:
        raise UserError(
            f"{path} is of other settings: its fingerprint is {header['fingerprint']}, this run's is {fingerprint}",
            fix="give another folder, or the former settings",
        )


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        content = parse_json(line)
        if "picture" in content:
            content["image"] = content.pop("picture")  # version 1
        content.setdefault("presence", None)  # manifests of version 0.2 do not have it
        if set(content) != {field.name for field in fields(Entry)}:
            raise ValueError(f"its fields are {', '.join(sorted(content)):.200}")
        return Entry.read(content)
    except (ValueError, TypeError, AttributeError, LookupError) as problem:
        raise UserError(f"{path}, line {number}, is not an entry ({problem})", fix="remove the line") from problem


def _opened(path: Path) -> BinaryIO:
    """The file, opened for appending; `Manifest.close` closes it. Raises UserError."""
    try:
        return open(path, "ab", buffering=0)
    except OSError as problem:  # such as a link that leads to itself
        raise UserError(f"{path} cannot be opened ({problem.strerror})", fix="give another folder") from problem


def _complete_bytes(path: Path, fingerprint: str) -> int:
    """How many bytes the complete lines of a manifest have; 0 for a missing file and for a partial header.

    Raises UserError for a file that is not a manifest, or of other settings: opening it would cut it.
    """
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        first = file.readline()
        if not first.endswith(b"\n"):
            if not (first.startswith(HEADER) or HEADER.startswith(first)):
                raise UserError(f"{path} is not a manifest", fix="give another folder")
            return 0
        _check_header(path, first, fingerprint, (VERSION,))
        end = file.seek(0, os.SEEK_END)
        while True:
            start = max(0, end - BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
