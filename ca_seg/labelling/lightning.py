"""Labelling by Lightning's Trainer: in this process, or in several, each of which takes every n-th batch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from ca_seg.labelling.background_writer import BackgroundWriter
from ca_seg.labelling.data import UnlabelledData, UnlabelledImages
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.run_folder import RunFolder
from ca_seg.labelling.settings import LabelData
from ca_seg.metrics.gather import gather_objects

MAX_WAIT = timedelta(days=2)  # of a process for the slowest of the others, at the end


def patient(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's options; with several processes, those let each other work for days.

    The processes only meet at the end, and by gloo, which needs no device.
    """
    devices = trainer.get("devices", 1)
    one_device = len(devices) == 1 if isinstance(devices, list) else str(devices) in ("1", "auto")
    one_process = one_device and trainer.get("num_nodes", 1) == 1
    if trainer.get("strategy", "auto") != "auto" or one_process:
        return dict(trainer)
    return {**trainer, "strategy": DDPStrategy(timeout=MAX_WAIT, process_group_backend="gloo")}


def label_by_lightning(
    labelling: Labelling, folder: RunFolder, trainer: pl.Trainer, writer: BackgroundWriter, data: LabelData
) -> tuple[int, list[tuple[str, str]]]:
    """Label what is missing in the folder.

    Returns:
        How many images all processes labelled, and (image, reason) of those that they skipped.
    """

    def images() -> UnlabelledImages:
        """Called when all processes have started: by then the first has prepared the folder."""
        writer.open(folder.part(trainer.global_rank), folder.fingerprint)
        labelled = folder.labelled()
        task.labelled = len(labelled)
        return labelling.images(labelled)

    try:
        task = labelling.task(str(trainer.strategy.root_device), writer.save)
        batches = UnlabelledData(images, batch_size=data.batch_size, num_workers=data.num_workers)
        trainer.predict(task, datamodule=batches, return_predictions=False)
        writer.close()
    finally:
        writer.abandon()
    skipped = sorted(pair for part in gather_objects(task.skipped + writer.skipped) for pair in part)
    return sum(gather_objects(writer.written)), skipped
