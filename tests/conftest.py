"""File systems that are full or read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system of one megabyte, and a function that mounts it again with options ("ro", "rw")."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here ({mount.stderr.strip()})")
    try:
        yield disk, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)  # type: ignore[misc]
    finally:
        subprocess.run(["umount", disk], check=True)
