"""What a fuzz test needs to know of a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {  # of damage, by the suffix of a file
    ".json": "json", ".jsonl": "jsonl", ".yaml": "yaml", ".tar": "tar", ".safetensors": "safetensors",
    **dict.fromkeys((".png", ".jpg", ".webp", ".tif", ".gif", ".bmp", ".jp2", ".ppm", ".avif"), "image"),
}  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One reader of files.

    Args:
        name: of the reader
        write: writes good files into a new folder
        read: reads them, and asserts what holds for every result; the working directory is the folder
        only: the files that are damaged, by their suffixes; (): all
        writes: the reader may write into the folder
        follows_links: a link out of the folder may be followed, as the user may have put it there. (A path that is
            written in a file may never lead out.)
        cases: in the test, of every `FUZZ_EXAMPLES`
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    only: tuple[str, ...] = ()
    writes: bool = False
    follows_links: bool = True
    share: float = 1.0

    def files(self, folder: Path) -> dict[str, str]:
        """The files that are damaged, and the kind of each."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return {
            path.relative_to(folder).as_posix(): KINDS.get(path.suffix, "bytes")
            for path in paths
            if not self.only or path.name.endswith(self.only)
        }
