"""Checkpoints that are written atomically: after a kill or on a full disk, the previous one is still there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric.plugins import TorchCheckpointIO

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError


class AtomicCheckpoint(TorchCheckpointIO):
    """Writes to a file beside the checkpoint, then renames it. Raises UserError, naming the file, when it cannot."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with atomic_write(Path(path)) as part:
                super().save_checkpoint(checkpoint, part, storage_options)
        except RuntimeError as problem:  # torch's own writer on a full disk
            fix = "free some space, or give another folder"
            raise UserError(f"{path} cannot be written ({problem})", fix=fix) from problem
