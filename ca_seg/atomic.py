"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ca_seg.errors import UserError


@contextmanager
def atomic_write(path: Path, *, fix: str = "free room, or give another --out", part: str = "") -> Iterator[Path]:
    """Gives a path to write to; afterwards it is renamed to `path`. The folder is made.

    `part` is the file's name until then; where several processes may write the same file, each must give its own.

    Raises UserError naming `path` when it cannot be written (full or read-only disk); what stood there before stays.
    """
    until = path.with_name(part or path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield until
        os.replace(until, path)
    except (OSError, SafetensorError) as problem:  # the latter is what safetensors makes of a full disk
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UserError(f"{path} cannot be written ({reason})", fix=fix) from problem
    finally:
        if until.exists():
            until.unlink()
