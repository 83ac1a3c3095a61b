"""Checkpoints that are whole or not there: a full disk or a kill leaves the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric.plugins import TorchCheckpointIO

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError


class WholeCheckpoint(TorchCheckpointIO):
    """Writes beside the file, then renames. Raises UserError naming the file when it cannot be written."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with atomic_write(Path(path)) as part:
                super().save_checkpoint(checkpoint, part, storage_options)
        except RuntimeError as problem:  # torch's own writer on a full disk
            raise UserError(
                f"{path} cannot be written ({problem})", fix="free room, or give another --out"
            ) from problem
