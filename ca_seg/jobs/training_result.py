"""What the training of a head gives: the head, its figures, and both as files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca_seg.errors import UserError
from ca_seg.heads.trained import TrainedHead
from ca_seg.json_file import write_json


@dataclass(frozen=True)
class TrainingResult:
    """What `ca_seg.train_head` returns. `content` is what results.json holds; with several processes, in the first."""

    head: TrainedHead
    content: dict[str, Any]
    folder: Path | None = None  # where everything was written

    @property
    def metrics(self) -> dict[str, float]:
        """`miou` and `pixel_accuracy` on the validation images, 0..1, with all classes offered."""
        return self.content["metrics"]

    @property
    def skipped(self) -> dict[str, str]:
        """Images that could not be used: the reason by path."""
        return dict(self.content.get("skipped", ()))

    @property
    def as_expected(self) -> bool:
        """Whether every figure that the settings expect holds; True where they expect none."""
        return all(check["holds"] for check in self.content.get("expect", ()))

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/head and FOLDER/results.json; the path of the latter. Raises UserError when it cannot."""
        save_head(self.head, Path(folder) / "head")
        path = Path(folder) / "results.json"
        write_json(path, self.content)
        return path


def save_head(head: TrainedHead, folder: Path) -> None:
    """Write the whole folder; when that fails, what was there before stays. Raises UserError, naming the folder."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        head.save_pretrained(part)
        (part / "model.safetensors").chmod(0o644)  # safetensors makes it unreadable for other users
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise UserError(
            f"{folder} cannot be written ({reason})", fix="free some space, or give another folder"
        ) from problem
