"""What the training of a head gives: the head, its figures, and both as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

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
        """`miou` and `pixel_accuracy` on the validation images, 0..1, with all classes offered; empty without any."""
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
        """Write FOLDER/head and FOLDER/results.json; the path of the latter. Raises UserError when it cannot.

        Former results are removed first: at no moment are results beside another head.
        """
        path = Path(folder) / "results.json"
        save_head(self.head, Path(folder) / "head", before=lambda: path.unlink(missing_ok=True))
        write_json(path, self.content)
        return path


def save_head(head: TrainedHead, folder: Path, *, before: Callable[[], None] = lambda: None) -> None:
    """Write the whole folder; when that fails, what was there before stays. Raises UserError, naming the folder.

    `before` is called when the new head is whole, right before it replaces the former one.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        head.save_pretrained(part)
        (part / "model.safetensors").chmod(0o644)  # safetensors makes it unreadable for other users
        before()
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except (OSError, SafetensorError) as problem:  # safetensors raises its own error for a full disk
        shutil.rmtree(part, ignore_errors=True)
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UserError(
            f"{folder} cannot be written ({reason})", fix="free some space, or give another folder"
        ) from problem
