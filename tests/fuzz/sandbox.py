"""Cases in a process of their own, with bounds on time and memory; nothing outside their folder is read or written.

    FOLDER/good/       the good files, written once
    FOLDER/case/       a copy of them with one file damaged
    FOLDER/outside/    what no file may lead to

A case ends in a result that passes the reader's check, or in one UserError. Everything else is a `Fault`.
"""

from __future__ import annotations

import gc
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ca_seg.errors import UserError
from tests.fuzz.damage import damage_file
from tests.fuzz.damage_bytes import CANARY, OUTSIDE

SECONDS = 5.0  # of the processor, for one case
WAITING = 60.0  # seconds that a case may take if it only waits, such as for a pipe
HANGS = 3  # after so many the other cases of a reader are not tried
MEMORY = 3 * 2**30  # bytes of address space that a case may add
MESSAGE = 2000  # characters of an error
NOISE = 2000  # bytes on stderr
FORBIDDEN = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.getaddrinfo",
}
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}


@dataclass(frozen=True)
class Fault:
    """A case that ended otherwise than it may."""

    case: int | None  # None: the good files
    damage: str
    what: str

    def __str__(self) -> str:
        return f"case {self.case} ({self.damage}): {self.what}"


class TooLong(BaseException):
    """The time of a case is over. No reader may catch it, so it is no Exception."""


def faults(reader: Any, folder: Path, cases: Iterable[int], seed: str = "") -> list[Fault]:
    """The cases of `reader` that go wrong.

    Args:
        reader: a `Reader`
        folder: a new folder for the files
        cases: numbers of the cases; a number always means the same damage
        seed: of another series of cases
    """
    for part in ("good", OUTSIDE):
        (folder / part).mkdir(parents=True)
    waiting, findings, hangs = list(cases), [], 0
    while waiting and hangs < HANGS:
        done, fault, hung = _in_child(reader, folder, waiting, seed)
        bad = [each for each in fault if each.case is None]
        assert not bad, f"the good files of {reader.name} are not read: {bad[0]}"
        findings += fault
        hangs += hung
        waiting = waiting[done:]
    return findings


def _in_child(reader: Any, folder: Path, cases: list[int], seed: str) -> tuple[int, list[Fault], bool]:
    """How many cases a child process has done, the faults among them, and whether the last one hung.

    The good files are written and read in the child as well: libraries that start threads (decoders of videos) do not
    survive a fork, not even the clearing of what they left. So nothing is run and nothing is collected in the parent.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        gc.freeze()
        os.close(ours)
        status = 1
        try:
            torch.set_num_threads(1)

            def run(case: int | None) -> None:
                os.write(theirs, json.dumps([case, None, None]).encode() + b"\n")
                fault = _run(reader, folder, case, seed)
                if fault is not None:
                    os.write(theirs, json.dumps([case, *fault]).encode() + b"\n")

            if not any((folder / "good").iterdir()):
                reader.write(folder / "good")
            run(None)
            _bounded()
            _watched(folder)
            for case in cases:
                run(case)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(theirs)
    lines, hung = _lines(ours, child)
    _, status = os.waitpid(child, 0)
    os.close(ours)
    findings = [Fault(*line) for line in lines if line[1] is not None]
    if not status:
        return len(cases), findings, False
    last = lines[-1][0] if lines else None
    what = "it hangs" if hung else f"the process ended with status {status}"
    findings.append(Fault(last, "see its number", what))
    return 0 if last is None else cases.index(last) + 1, findings, hung


def _lines(pipe: int, child: int) -> tuple[list[Any], bool]:
    """What the child reports, until it ends; and whether it had to be killed."""
    content = b""
    while True:
        if not select.select([pipe], [], [], 3 * WAITING)[0]:
            os.kill(child, signal.SIGKILL)
            return [json.loads(line) for line in content.splitlines()], True
        part = os.read(pipe, 1 << 16)
        if not part:
            return [json.loads(line) for line in content.splitlines()], False
        content += part


def _bounded() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def over(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, over)
    signal.signal(signal.SIGPROF, over)


ACTS: list[str] = []  # what the case did that it may not; filled by the audit hook


def _watched(folder: Path) -> None:
    sys.dont_write_bytecode = True
    inside = f"{os.path.realpath(folder / 'case')}/"
    outside = f"{os.path.realpath(folder / OUTSIDE)}/"
    active = []

    def hook(event: str, arguments: tuple) -> None:
        if active or not WATCHING:
            return
        if event in FORBIDDEN:
            ACTS.append(f"{event} {arguments!r:.100}")
        if event not in CHANGES and event != "open":
            return
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        active.append(1)
        try:
            path = os.path.realpath(os.fsdecode(arguments[0]))
        finally:
            active.pop()
        flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
        writes = event != "open" or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and path != "/dev/null" and not (WATCHING[0].writes and f"{path}/".startswith(inside)):
            ACTS.append(f"writes {path}")
        if not writes and path.startswith(outside) and not (WATCHING[0].follows_links and "/by_link" in path):
            ACTS.append(f"reads {path}")

    sys.addaudithook(hook)


WATCHING: list[Any] = []  # the reader whose case runs


def _run(reader: Any, folder: Path, case: int | None, seed: str) -> tuple[str, str] | None:
    """One case, None for the good files: what was done and what went wrong, or None."""
    damage = _prepare(reader, folder, case, seed)
    os.chdir(folder / "case")
    ACTS.clear()
    with _quiet(folder) as noise, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")  # each once per place
        if case is not None:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.setitimer(signal.ITIMER_REAL, WAITING)
        WATCHING.append(reader)
        try:
            wrong = _outcome(reader, folder / "case")
        except TooLong:
            wrong = f"longer than {SECONDS:g} seconds of the processor, or {WAITING:g} seconds of waiting"
        finally:
            WATCHING.clear()
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    if case is None:
        return None if wrong is None else (damage, wrong)
    if wrong is None and ACTS:
        wrong = ", ".join(dict.fromkeys(ACTS))
    if wrong is None and CANARY in sys.modules:
        wrong = f"{CANARY} was imported"
        del sys.modules[CANARY]
    if wrong is None and any(
        path.name[:8] != "by_link." and path.name[:8] != "by_path." for path in (folder / OUTSIDE).iterdir()
    ):
        wrong = f"{[path.name for path in (folder / OUTSIDE).iterdir()]} in the folder outside"
    if wrong is None and len(warned) > 3:
        wrong = f"{len(warned)} warnings: {str(warned[0].message)!r:.200}"
    if wrong is None and len(noise[0]) > NOISE:
        wrong = f"{len(noise[0])} bytes on stderr: {noise[0][:200]!r}"
    return None if wrong is None else (damage, wrong)


def _outcome(reader: Any, folder: Path) -> str | None:
    """What is wrong with the outcome of one case."""
    try:
        reader.read(folder)
    except UserError as error:
        text = str(error)
        if len(text) > MESSAGE:
            return f"a message of {len(text)} characters: {text[:150]}"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"a message that cannot be printed: {text!r:.200}"
        return f"a message of several lines: {text!r:.300}" if "\n" in text or "\x1b" in text or "\0" in text else None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in where if "/ca_seg/" in frame.filename or "/tests/" in frame.filename]
        places = [f"{frame.filename.rpartition('/ca_seg/')[2]}:{frame.lineno}" for frame in ours[-3:]]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {' '.join(places)}"
    return None


def _prepare(reader: Any, folder: Path, case: int | None, seed: str) -> str:
    """FOLDER/case with the files of a case; returns the damage."""
    os.chdir(folder)
    if (folder / "case").exists():
        for path in (folder / "case").rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder / "case")
    shutil.rmtree(folder / OUTSIDE)
    (folder / OUTSIDE).mkdir()
    shutil.copytree(folder / "good", folder / "case", symlinks=True)
    files = reader.files(folder / "good")
    for name in files:
        suffix = Path(name).suffix
        shutil.copy(folder / "good" / name, folder / OUTSIDE / f"by_path{suffix}")
    if case is None:
        return "none"
    rng = random.Random(f"{reader.name} {seed} {case}")
    name = rng.choice(list(files))
    return damage_file(folder / "case" / name, files[name], rng, folder / OUTSIDE)


class _quiet:  # noqa: N801  used like a function
    """stdout and stderr go to a file; the list that it gives holds what stderr held, afterwards."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stderr"

    def __enter__(self) -> list[bytes]:
        self.noise: list[bytes] = [b""]
        sys.stdout.flush(), sys.stderr.flush()
        self.former = [os.dup(1), os.dup(2)]
        self.streams = sys.stdout, sys.stderr
        target = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1), os.dup2(target, 2)
        os.close(target)
        sys.stdout = sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), errors="backslashreplace", write_through=True
        )
        return self.noise

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self.streams
        for number, former in zip((1, 2), self.former, strict=True):
            os.dup2(former, number)
            os.close(former)
        self.noise[0] = self.path.read_bytes()


def numbers(text: str) -> Iterator[int]:
    """ "3,7-9" as numbers."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
