"""`ca-seg label --config-file FILE [--key.sub value ...] --out DIR`: labels for whole datasets.

The same command again goes on where a run was stopped, in any number of processes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from rich.console import Console

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.card import find_card
from ca_seg.backbones.pictures import Working
from ca_seg.cli.arguments import Parsed, add_trainer, new_trainer, parse, parser, quiet_lightning
from ca_seg.cli.label_settings import CONFIDENCE, Certainty, LabelData, certainty, formats_of, words
from ca_seg.cli.settings import MethodSettings
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.to_label import PicturesToLabel, ToLabel
from ca_seg.errors import UserError
from ca_seg.evaluation.methods import of_backbone
from ca_seg.evaluation.refinement import Refinement, refine_by, sees_pixels
from ca_seg.evaluation.results import versions, write_results
from ca_seg.evaluation.several_views import record_views
from ca_seg.evaluation.trained_head import of_head
from ca_seg.features.frozen import weights_digest
from ca_seg.heads.confident import AGREEMENT
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.labels.background import threads_beside
from ca_seg.labels.registry import FORMATS
from ca_seg.labels.run_folder import RunFolder
from ca_seg.labels.summary import summarise
from ca_seg.labels.writing import Writing
from ca_seg.tasks.pseudo_label import PseudoLabel
from ca_seg.tasks.scores import all_of
from ca_seg.tasks.zero_shot import Record
from ca_seg.vocabulary import Vocabulary

LONGEST_WAIT = timedelta(days=2)  # of a process for the slowest of the others, at the end


def label(arguments: Sequence[str]) -> int:
    """Label the pictures; 0 when every one was labelled (now or in a run before), 1 when some were skipped."""
    parsed, start = _parse(arguments), time.monotonic()
    settings = parsed.settings
    model: MethodSettings = settings.model
    model.check()
    card = find_card(model.backbone)
    dataset = open_dataset(settings.data.name, settings.data.root, settings.data.split)
    dataset = dataset if settings.data.limit is None else dataset.first(settings.data.limit)
    vocabulary = words(settings.vocabulary, model, settings.data, dataset)
    sure = certainty(
        settings.confidence, settings.temperature, settings.threshold, settings.calibration, model.backbone, vocabulary
    )
    _check_reading(model, sure)
    head = load_head(model.head, backbone=model.backbone) if model.head else None
    if head is not None:
        head.places_of(vocabulary.classes)
    formats = formats_of(settings.formats, settings.format_options)
    refine = refine_by(settings.refine, vocabulary.classes)
    whole = sees_pixels(settings.refine) or model.views() is not None or head is not None
    working = Working(model.resolution or card.resolution, card.multiple)

    quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    trainer = new_trainer(
        **_patient(parsed.trainer)
        | {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}  # shares are our own
    )
    first, device = trainer.is_global_zero, trainer.strategy.root_device
    console = Console(quiet=not first)
    folder = RunFolder(Path(settings.out), _depends_on(parsed.given, vocabulary, sure, head))
    writing = Writing(
        folder.out,
        vocabulary.classes,
        formats,
        threshold=sure.of_classes(vocabulary.classes),
        confidence=settings.save_confidence and sure.measure is not None,
        threads=threads_beside(device.type) if settings.writers is None else settings.writers,
    )
    ready = ToLabel(dataset, working, done={}, whole=whole)

    def pictures() -> ToLabel:
        """Called when all processes have started: the first has prepared the folder by then."""
        writing.open(folder.part(trainer.global_rank), folder.fingerprint)
        ready.done = folder.done()
        return ready

    lock = folder.begin(_about(parsed, dataset, vocabulary)) if first else None
    try:
        backbone = model.load(str(device))
        backbone.text.concepts(vocabulary.concepts, backbone.card.phrase_pooling)  # words that it lacks: before the run
        task = PseudoLabel(
            _record(backbone, model, head, "attention" in settings.refine.steps),
            vocabulary,
            writing.keep,
            measure=sure.measure,
            temperature=sure.temperature,
            scores=any(format.needs_scores for format in formats.values()),
            refine=refine,
            whole=whole,
            seed=settings.seed,
        )
        data = PicturesToLabel(pictures, batch_size=settings.data.batch_size, num_workers=settings.data.num_workers)
        trainer.predict(task, datamodule=data, return_predictions=False)
        writing.close()
        skipped = sorted(pair for part in all_of(task.skipped + writing.skipped) for pair in part)
        labelled = sum(all_of(writing.written))
        if not first:
            return 0
        return _finish(folder, writing, vocabulary, labelled, skipped, time.monotonic() - start, console)
    finally:
        writing.abandon()
        if lock is not None:
            lock.release()


def _record(backbone: Backbone, model: MethodSettings, head: TrainedHead | None, queries: bool) -> Record:
    """What gives the class maps: the zero-shot reading of a backbone, or a head trained on it."""
    if head is not None:
        return of_head(head, backbone)
    reading, views = model.reading(queries=queries), model.views()
    return of_backbone(backbone, reading) if views is None else record_views(backbone, reading, views)


def _finish(
    folder: RunFolder,
    writing: Writing,
    vocabulary: Vocabulary,
    labelled: int,
    skipped: list[tuple[str, str]],
    seconds: float,
    console: Console,
) -> int:
    writing.assemble()
    manifest = folder.finish()
    summary = summarise(manifest, vocabulary.classes, labelled=labelled, skipped=skipped, seconds=seconds)
    write_results(folder.out / "summary.json", summary)
    for picture, reason in skipped[:10]:
        console.print(f"skipped: {picture}: {reason}", soft_wrap=True, markup=False, highlight=False)
    if len(skipped) > 10:
        console.print(f"... and {len(skipped) - 10} more, in {folder.out / 'summary.json'}", soft_wrap=True)
    console.print(
        f"{labelled} labelled now, {summary['pictures']} in all, {len(skipped)} skipped: {folder.out}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    return 1 if skipped else 0


def _check_reading(model: MethodSettings, sure: Certainty) -> None:
    """Raises UserError for maps that the confidence cannot be read from."""
    if sure.measure is not None and not model.softmax:
        raise UserError("raw products have no confidence", fix="--model.softmax true, or --confidence none")
    if sure.measure != AGREEMENT:
        return
    if model.head:
        raise UserError("a head has no draws that could agree", fix="take another --confidence")
    if model.views() is not None:
        raise UserError("windows and scales have no draws that could agree", fix="take another --confidence")
    card = find_card(model.backbone)
    if (model.samples or card.samples) * len(model.timesteps or [card.timestep]) < 2:
        raise UserError("one draw agrees with itself", fix='--model.samples 4, or --model.timesteps "[0.1, 0.2, 0.3]"')


def _depends_on(
    given: dict[str, Any], vocabulary: Vocabulary, sure: Certainty, head: TrainedHead | None
) -> dict[str, Any]:
    """All that the labels depend on beside the pictures."""
    model = {key: value for key, value in given["model"].items() if key not in ("template", "synonyms")}
    data = given["data"]
    return {
        "ca_seg": versions()["ca_seg"],
        "model": model,
        "head": None if head is None else weights_digest(head),
        "vocabulary": dict(zip(vocabulary.classes, map(list, vocabulary.phrases), strict=True)),
        "refine": given["refine"],
        "certainty": asdict(sure),
        "formats": given["formats"],
        "format_options": given["format_options"],
        "save_confidence": given["save_confidence"],
        "data": {"name": data["name"], "root": data["root"], "split": data["split"]},
        "seed": given["seed"],
    }


def _about(parsed: Parsed, dataset: SegmentationDataset, vocabulary: Vocabulary) -> dict[str, Any]:
    """For readers of run.json: the classes in their order, and where the pictures lie."""
    name = dataset.stems[0] + dataset.image_path(0).suffix
    background = vocabulary.background
    return {
        "classes": list(vocabulary.classes),
        "phrases": [list(own) for own in vocabulary.phrases],
        "background": None if background is None else vocabulary.classes[background],
        "formats": parsed.given["formats"],
        "pictures": {
            **{key: parsed.given["data"][key] for key in ("name", "root", "split")},
            "folder": str(dataset.image_path(0)).removesuffix(name).rstrip("/"),
            "count": len(dataset),
        },
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "config": parsed.given,
    }


def _patient(trainer: dict[str, Any]) -> dict[str, Any]:
    """With several processes: they wait for each other at the end alone, and by gloo, which needs no device."""
    several = str(trainer["devices"]) not in ("1", "auto") or trainer["num_nodes"] > 1
    if trainer["strategy"] != "auto" or not several:
        return trainer
    return trainer | {"strategy": DDPStrategy(timeout=LONGEST_WAIT, process_group_backend="gloo")}


def _parse(arguments: Sequence[str]) -> Parsed:
    known = parser("Label pictures that have no masks. The same command again goes on where it was stopped.")
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
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=str, default="out/labels")
    add_trainer(known, accelerator="auto", devices=1)
    return parse(known, arguments)
