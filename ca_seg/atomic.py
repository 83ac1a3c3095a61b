"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ca_seg.errors import UserError


@contextmanager
def atomic_write(path: Path, *, fix: str = "free room, or give another folder", part: str = "") -> Iterator[Path]:
    """Gives a temporary path in the same folder; after the block the file there is renamed to `path`.

    The folder is made. A former file at `path` stays as it is if the block fails.

    Args:
        path: of the file
        fix: what a user can do where it cannot be written
        part: the name of the temporary file; processes that may write the same file must each give another

    Raises:
        UserError: where the file cannot be written (a full or read-only disk); it names `path`

    Example:
        >>> with atomic_write(Path("out/results.json")) as part:
        ...     part.write_text("{}")
    """
    temporary = path.with_name(part or path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, SafetensorError) as problem:  # safetensors raises its own error for a full disk
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UserError(f"{path} cannot be written ({reason})", fix=fix) from problem
    finally:
        if os.path.lexists(temporary):  # unlike Path.exists it does not raise for a name that is too long
            temporary.unlink()
