"""Files of a git directory, read without a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path


class GitFiles:
    """The files of one commit, by path."""

    def __init__(self, folder: Path, commit: str = "") -> None:
        self.folder = folder / ".git" if (folder / ".git").is_dir() else folder
        self.commit = commit or "HEAD"
        self._reader: subprocess.Popen[bytes] | None = None

    def paths(self) -> list[str]:
        command = ["git", "--git-dir", str(self.folder), "ls-tree", "-r", "-z", "--name-only", self.commit]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]

    def read(self, path: str) -> bytes:
        """The content of one file. Raises FileNotFoundError."""
        if self._reader is None:
            command = ["git", "--git-dir", str(self.folder), "cat-file", "--batch"]
            self._reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        reader = self._reader
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(f"{self.commit}:{path}\n".encode())
        reader.stdin.flush()
        header = reader.stdout.readline().split()
        if header[-1] == b"missing":
            raise FileNotFoundError(f"{self.folder}: {path} is not there")
        content = reader.stdout.read(int(header[2]))
        reader.stdout.read(1)
        return content
