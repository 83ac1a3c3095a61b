"""`ca-seg label --config-file FILE [--key.sub value ...] --out DIR`: labels for whole datasets.

The same command again goes on where a run was stopped, in any number of processes.

settings ──► Labelling ──┬──► Lightning: this process, or several     ──┬──► assembled, merged, summed up
                         └──► Ray Data: `--ray.actors`, label_ray.py  ──┘
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentParser
from pytorch_lightning.strategies import DDPStrategy
from rich.console import Console

from ca_seg.cli.arguments import add_trainer, new_trainer, parse, parser, quiet_lightning
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from ca_seg.labelling.data import ImagesToLabel, ToLabel
from ca_seg.labelling.ray import RaySettings, label_by_ray
from ca_seg.labelling.registry import FORMATS
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.run_folder import RunFolder
from ca_seg.labelling.settings import CONFIDENCE, LabelData
from ca_seg.labelling.summary import summarise
from ca_seg.labelling.thread_pool import threads_beside
from ca_seg.labelling.writing import Writing
from ca_seg.metrics.gather import gather_objects
from ca_seg.predictors.settings import MethodSettings
from ca_seg.refine.steps import Refinement

LONGEST_WAIT = timedelta(days=2)  # of a process for the slowest of the others, at the end


def label(arguments: Sequence[str]) -> int:
    """Label the images; 0 when every one was labelled (now or in a run before), 1 when some were skipped."""
    known, start = _parser(), time.monotonic()
    parsed = parse(known, arguments)
    settings = parsed.settings
    settings.ray.check()
    by_ray = settings.ray.actors > 0
    if by_ray:
        _refuse_beside_ray(parsed.given, known.get_defaults())
    labelling = Labelling.of(settings)
    quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    trainer = None if by_ray else _trainer(parsed.trainer)
    writing = None if trainer is None else _writing(labelling, trainer, settings.writers)
    first = trainer is None or trainer.is_global_zero
    folder = RunFolder(Path(settings.out), labelling.depends_on(parsed.given))
    lock = folder.begin(labelling.about(parsed)) if first else None
    try:
        if trainer is None or writing is None:
            labelled, skipped = label_by_ray(labelling, folder, settings.ray, settings.data.batch_size)
        else:
            labelled, skipped = _label_by_lightning(labelling, folder, trainer, writing, settings.data)
        if first:
            _finish(folder, labelling, labelled, skipped, time.monotonic() - start)
        return 1 if skipped and first else 0
    finally:
        if lock is not None:
            lock.release()


def _label_by_lightning(
    labelling: Labelling, folder: RunFolder, trainer: pl.Trainer, writing: Writing, data: LabelData
) -> tuple[int, list[tuple[str, str]]]:
    """How many all processes labelled, and (image, reason) of those they skipped."""

    def images() -> ToLabel:
        """Called when all processes have started: the first has prepared the folder by then."""
        writing.open(folder.part(trainer.global_rank), folder.fingerprint)
        return labelling.images(folder.done())

    try:
        task = labelling.task(str(trainer.strategy.root_device), writing.keep)
        batches = ImagesToLabel(images, batch_size=data.batch_size, num_workers=data.num_workers)
        trainer.predict(task, datamodule=batches, return_predictions=False)
        writing.close()
    finally:
        writing.abandon()
    skipped = sorted(pair for part in gather_objects(task.skipped + writing.skipped) for pair in part)
    return sum(gather_objects(writing.written)), skipped


def _writing(labelling: Labelling, trainer: pl.Trainer, threads: int | None) -> Writing:
    beside = threads_beside(trainer.strategy.root_device.type)
    return Writing(labelling.files, threads=beside if threads is None else threads)


def _finish(
    folder: RunFolder, labelling: Labelling, labelled: int, skipped: list[tuple[str, str]], seconds: float
) -> None:
    labelling.files.assemble()
    manifest = folder.finish()
    classes = labelling.vocabulary.classes
    summary = summarise(manifest, classes, labelled=labelled, skipped=skipped, seconds=seconds)
    write_json(folder.out / "summary.json", summary)
    console = Console()
    for image, reason in skipped[:10]:
        console.print(f"skipped: {image}: {reason}", soft_wrap=True, markup=False, highlight=False)
    if len(skipped) > 10:
        console.print(f"... and {len(skipped) - 10} more, in {folder.out / 'summary.json'}", soft_wrap=True)
    console.print(
        f"{labelled} labelled now, {summary['images']} in all, {len(skipped)} skipped: {folder.out}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _trainer(given: dict[str, Any]) -> pl.Trainer:
    return new_trainer(
        **_patient(given)
        | {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}  # shares are our own
    )


def _patient(trainer: dict[str, Any]) -> dict[str, Any]:
    """With several processes: they wait for each other at the end alone, and by gloo, which needs no device."""
    several = str(trainer["devices"]) not in ("1", "auto") or trainer["num_nodes"] > 1
    if trainer["strategy"] != "auto" or not several:
        return trainer
    return trainer | {"strategy": DDPStrategy(timeout=LONGEST_WAIT, process_group_backend="gloo")}


def _refuse_beside_ray(given: dict[str, Any], defaults: Any) -> None:
    """Raises UserError for settings that Ray would not look at."""
    changed = [f"trainer.{key}" for key, value in given["trainer"].items() if value != defaults[f"trainer.{key}"]]
    changed += ["writers"] if given["writers"] != defaults["writers"] else []
    changed += ["data.num_workers"] if given["data"]["num_workers"] != LabelData().num_workers else []
    for name in changed:
        raise UserError(f"--{name} beside --ray.actors", fix="leave it out; --ray.readers, --ray.writers, --ray.gpus")


def _parser() -> ArgumentParser:
    known = parser("Label images that have no masks. The same command again goes on where it was stopped.")
    known.add_argument("--model", type=MethodSettings, default=MethodSettings())
    known.add_argument("--data", type=LabelData, default=LabelData())
    known.add_argument("--vocabulary", type=str | None, default=None, help="a YAML file of classes and their words")
    known.add_argument("--refine", type=Refinement, default=Refinement())
    known.add_argument("--confidence", type=str | None, default=None, help=f"{', '.join(CONFIDENCE)} (default: margin)")
    known.add_argument("--temperature", type=float | None, default=None, help="of shares; above 1: less sure")
    known.add_argument(
        "--threshold",
        type=float | dict[str, float] | None,
        default=None,
        help="pixels below this confidence become 255 (ignore); one number, or one for each class",
    )
    known.add_argument("--calibration", type=str | None, default=None, help="a file with temperature and thresholds")
    known.add_argument("--formats", type=list[str], default=["png"], help=", ".join(FORMATS))
    known.add_argument("--format_options", type=dict[str, Any], default={}, help="yolo: {left_out: [background]}")
    known.add_argument("--save_confidence", type=bool, default=True, help="write OUT/confidence/KEY.png")
    known.add_argument("--writers", type=int | None, default=None, help="threads that encode and write (default: 1..4)")
    known.add_argument("--ray", type=RaySettings, default=RaySettings())
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=str, default="out/labels")
    add_trainer(known, accelerator="auto", devices=1)
    return known
