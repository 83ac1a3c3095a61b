"""The folder of a labelling run: whose it is, what is done in it, and what it holds in the end.

OUT/run.json                    the settings that the labels depend on, and their fingerprint; written first
OUT/.manifests/rank-0.jsonl     what each process of the present run has done
OUT/.manifests/earlier.jsonl    what runs before it have done, in any number of processes
OUT/manifest.jsonl              all of it, when a run has come to its end

A folder without run.json that holds anything is another's; so is one whose settings differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError
from ca_seg.fingerprint import fingerprint
from ca_seg.labelling.manifest import Manifest, merge_manifests, read_entries

SCHEMA = "ca_seg.labels/1"
PATIENCE = 15.0  # seconds that the workers of a killed run may take to end
MOST_NAMED = 3  # settings that differ


class RunFolder:
    """`settings` is what the labels depend on, as JSON can hold it."""

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.out, self.settings = Path(out), json.loads(json.dumps(settings, allow_nan=False))
        self.fingerprint = fingerprint(self.settings)
        self._earlier = self.out / ".manifests" / "earlier.jsonl"

    def begin(self, about: Mapping[str, Any]) -> filelock.BaseFileLock:
        """Take the folder for this run; one process does, before the others look into it. Gives a lock to be held.

        `about` goes into run.json beside the settings. Raises UserError when the folder is another's or in use.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._refuse_strangers()
            lock = filelock.FileLock(self.out / ".lock")
            lock.acquire(timeout=PATIENCE)
        except filelock.Timeout as problem:
            raise UserError(f"another run is labelling into {self.out}", fix="wait for it, or end it") from problem
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise UserError(f"{self.out} cannot be written ({reason})", fix="give another --out") from problem
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

    def done(self) -> dict[str, str]:
        """Images that earlier runs have labelled and whose files are there: key -> SHA-256 of the image's file."""
        if not self._earlier.exists():
            return {}
        entries = read_entries(self._earlier, self.fingerprint)
        return {e.key: e.sha256 for e in entries if all((self.out / file).is_file() for file in e.outputs)}

    def finish(self) -> Path:
        """Join all manifests into OUT/manifest.jsonl; one process does, when all have closed theirs."""
        target = self.out / "manifest.jsonl"
        merge_manifests(
            self._parts(), target, self.fingerprint, earlier=self._earlier if self._earlier.exists() else None
        )
        return target

    def _refuse_strangers(self) -> None:
        if (self.out / "run.json").exists():
            return
        strangers = sorted(path.name for path in self.out.iterdir() if path.name not in (".lock", "run.json.part"))
        if strangers:
            raise UserError(f"{self.out} is no folder of labels, and holds {strangers[0]!r}", fix="give an empty --out")

    def _claim(self, about: Mapping[str, Any]) -> None:
        file = self.out / "run.json"
        if not file.exists():
            content = {"schema": SCHEMA, "fingerprint": self.fingerprint, **about, "settings": self.settings}
            with atomic_write(file) as part:
                part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            return
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            schema, theirs = content["schema"], content["settings"]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{file} cannot be read as a run ({problem!r})", fix="give another --out") from problem
        if schema != SCHEMA:
            raise UserError(f"{file} is of schema {schema!r}", allowed=SCHEMA, fix="give another --out")
        changed = list(_differences(theirs, self.settings))
        if changed:
            more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
            raise UserError(
                f"{self.out} holds labels of other settings: {'; '.join(changed[:MOST_NAMED])}{more}",
                fix="go on with the former settings, or give another --out for the new ones",
            )

    def _gather(self) -> None:
        """Bring what the processes of the last run have done into one manifest, whatever their number is now."""
        parts = self._parts()
        for part in parts:
            with Manifest(part, self.fingerprint, patience=PATIENCE):
                pass  # nobody else has it open, and half a line at its end is cut off
        if parts:
            earlier = self._earlier if self._earlier.exists() else None
            merge_manifests(parts, self._earlier, self.fingerprint, earlier=earlier)
        for part in parts:
            part.unlink()

    def _parts(self) -> list[Path]:
        return sorted((self.out / ".manifests").glob("rank-*.jsonl"))


def _differences(one: Any, two: Any, name: str = "") -> Iterator[str]:
    """Lines such as "model.seed 0, now 1"."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in dict.fromkeys((*one, *two)):
            place = f"{name}.{key}" if name else key
            yield from _differences(one.get(key), two.get(key), place)
    elif one != two:
        yield f"{name} was {_short(one)}, is now {_short(two)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
