"""A folder that one run writes to at a time."""

from __future__ import annotations

from pathlib import Path

import filelock

from ca_seg.errors import UserError

PATIENCE = 15.0  # seconds that the workers of a killed run may take to end


def lock_folder(folder: Path, use: str, *, patience: float = PATIENCE) -> filelock.BaseFileLock:
    """Take a folder, which is made; the lock is to be released when the run ends.

    The operating system holds the lock (`flock`), so that of a process that was killed is free.

    Args:
        folder: to be written to
        use: what a run does with it, for the error: "labelling into"
        patience: seconds to wait while another process has it

    Raises:
        UserError: while another run has the folder, and where the folder cannot be written
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        lock.acquire(timeout=patience)
    except filelock.Timeout as problem:
        raise UserError(f"another run is {use} {folder}", fix="wait for it, or end it") from problem
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise UserError(f"{folder} cannot be written ({reason})", fix="give another out") from problem
    return lock
