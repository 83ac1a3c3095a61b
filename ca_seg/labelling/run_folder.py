"""The folder of a labelling run while it is written: which settings it is of, and which images have labels.

OUT/run.json                    the settings that the labels depend on, and their fingerprint; written first
OUT/.manifests/rank-0.jsonl     what each process of the present run has labelled
OUT/.manifests/earlier.jsonl    what runs before it have labelled, in any number of processes
OUT/manifest.jsonl              all of it, when a run has ended
OUT/captions.jsonl              where words are those of captions (`captions.py`); it may be there before run.json

A folder that holds anything but no run.json is refused, and so is one whose settings differ.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from ca_seg.atomic import atomic_write
from ca_seg.bounded_files import read_json
from ca_seg.errors import UserError
from ca_seg.fingerprint import differences, fingerprint
from ca_seg.folder_lock import PATIENCE, lock_folder
from ca_seg.labelling.captions import FILE as CAPTIONS
from ca_seg.labelling.manifest import Manifest, merge_manifests, read_entries

SCHEMA = "ca_seg.labels/2"
BEFORE_RUN = (".lock", "run.json.part", CAPTIONS)  # what a folder may hold before it is a run
MAX_DIFFERENCES = 3  # settings that are named in an error
OTHER_FOLDER = "give another out"


class RunFolder:
    """A folder for the labels of one set of settings.

    Args:
        out: the folder, which need not exist
        settings: what the labels depend on, as JSON can hold it
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.out, self.settings = Path(out), json.loads(json.dumps(settings, allow_nan=False))
        self.fingerprint = fingerprint(self.settings)
        self._earlier = self.out / ".manifests" / "earlier.jsonl"

    def begin(self, about: Mapping[str, Any]) -> filelock.BaseFileLock:
        """Take the folder for this run. One process does so, before the others read it.

        Args:
            about: goes into run.json beside the settings

        Returns:
            A lock, to be released when the run ends.

        Raises:
            UserError: when the folder holds something else or labels of other settings, is in use, or cannot be written
        """
        self.refuse_other_files()
        lock = lock_folder(self.out, "labelling into")
        try:
            self._claim(about)
            self._gather()
        except BaseException:
            lock.release()
            raise
        return lock

    def part(self, rank: int) -> Path:
        """The manifest of one process."""
        return self.out / ".manifests" / f"rank-{rank}.jsonl"

    def labelled(self) -> dict[str, str]:
        """Images that earlier runs have labelled and whose files exist: key -> SHA-256 of the image's file."""
        if not self._earlier.exists():
            return {}
        entries = read_entries(self._earlier, self.fingerprint)
        return {e.key: e.sha256 for e in entries if all(os.path.isfile(self.out / file) for file in e.outputs)}

    def finish(self) -> Path:
        """Join all manifests into OUT/manifest.jsonl. One process does so, when all have closed theirs."""
        target = self.out / "manifest.jsonl"
        merge_manifests(self._parts(), target, self.fingerprint, earlier=self._existing_earlier())
        return target

    def refuse_other_files(self) -> None:
        """Raises UserError for a folder that holds something else than a labelling run."""
        if not self.out.is_dir() or (self.out / "run.json").exists():
            return
        try:
            others = sorted(path.name for path in self.out.iterdir() if path.name not in BEFORE_RUN)
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise UserError(f"{self.out} cannot be read ({reason})", fix=OTHER_FOLDER) from problem
        if others:
            raise UserError(f"{self.out} is not a folder of labels, and holds {others[0]!r}", fix="give an empty out")

    def _claim(self, about: Mapping[str, Any]) -> None:
        file = self.out / "run.json"
        if not file.exists():
            content = {"schema": SCHEMA, "fingerprint": self.fingerprint, **about, "settings": self.settings}
            with atomic_write(file) as part:
                part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            return
        try:
            content = read_json(file)
            schema, former = content["schema"], content["settings"]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{file} cannot be read as a run ({problem!r})", fix=OTHER_FOLDER) from problem
        if schema != SCHEMA:
            raise UserError(f"{file} is of schema {schema!r}, which is not continued", allowed=SCHEMA, fix=OTHER_FOLDER)
        if former != self.settings:
            raise UserError(
                f"{self.out} holds labels of other settings{_named(former, self.settings)}",
                fix="continue with the former settings, or give another out for the new ones",
            )

    def _gather(self) -> None:
        """Bring what the processes of the last run have labelled into one manifest; their number may be another now."""
        parts = self._parts()
        for part in parts:
            with Manifest(part, self.fingerprint, patience=PATIENCE):
                pass  # no other process has it open, and a partial line at its end is cut off
        if parts:
            merge_manifests(parts, self._earlier, self.fingerprint, earlier=self._existing_earlier())
        for part in parts:
            part.unlink()

    def _parts(self) -> list[Path]:
        return sorted((self.out / ".manifests").glob("rank-*.jsonl"))

    def _existing_earlier(self) -> Path | None:
        return self._earlier if self._earlier.exists() else None


def _named(former: Any, present: Mapping[str, Any]) -> str:
    """The settings that differ, such as ": seed was 0, is now 3"; nothing where they differ in the types of values."""
    changed = differences(former, present) if isinstance(former, dict) else {}
    parts = [f"{name} was {before}, is now {now}" for name, (before, now) in changed.items()]
    more = f" and {len(parts) - MAX_DIFFERENCES} more" if len(parts) > MAX_DIFFERENCES else ""
    return f": {'; '.join(parts[:MAX_DIFFERENCES])}{more}" if parts else ""
