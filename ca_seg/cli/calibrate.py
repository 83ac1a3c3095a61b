"""`ca-seg calibrate --config-file FILE --data.root SAMPLE --precision 0.95`: confidence fitted on a labelled sample.

Writes the temperature and the thresholds that `ca-seg label --calibration FILE` takes, and a plot beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytorch_lightning as pl
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import track

from ca_seg.atomic import atomic_write
from ca_seg.cli.arguments import parser, quiet_lightning, with_bases
from ca_seg.confidence.calibration import SCHEMA, vocabulary_fingerprint
from ca_seg.confidence.fit import CalibrationResult, TargetPrecision, fit_confidence
from ca_seg.confidence.pixel_sample import PixelSample, SharesReader
from ca_seg.data.catalogue import class_words
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import OutOfRange, UserError
from ca_seg.predictors.multi_view import record_views
from ca_seg.predictors.registry import of_backbone
from ca_seg.predictors.settings import BackboneSettings, DataSettings
from ca_seg.refine.steps import Refinement, refine_by
from ca_seg.versions import versions
from ca_seg.visual.plots import coverage_plot
from ca_seg.vocabulary import Vocabulary


def run_calibration(arguments: Sequence[str]) -> int:
    """Writes FILE and its plot; 1 when an image was skipped."""
    known = _parser()
    settings = known.instantiate_classes(known.parse_args(with_bases(arguments)))
    target = TargetPrecision(settings.precision, settings.measure, settings.per_class, settings.least_pixels)
    console, out, model = Console(), Path(settings.out), settings.model
    if settings.pixels < 1:
        raise OutOfRange(f"a sample of {settings.pixels} pixels", allowed="1 or more")
    if not model.softmax:
        raise UserError("raw products are no shares", fix="--model.softmax true")
    quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    data = _data(settings.data)
    dataset = data.dataset(data.split)
    classes = dataset.class_list.names
    synonyms = class_words(settings.data.name).synonyms | (model.synonyms or {})
    vocabulary = Vocabulary.from_names(classes, synonyms=synonyms, template=model.template)
    backbone = model.load(settings.device)
    readout, views = model.readout(queries="attention" in settings.refine.steps), model.views()
    record = of_backbone(backbone, readout) if views is None else record_views(backbone, readout, views)
    reader = SharesReader(record, vocabulary, refine=refine_by(settings.refine, classes), seed=settings.seed)
    sample = PixelSample(len(classes), len(dataset), settings.pixels, settings.seed)
    batches = track(data.test_dataloader(), "batches", console=console)
    for labelled in reader.read(batches, settings.device):
        sample.add(labelled)
    if not sample.images:
        raise UserError("no image of the sample could be used", fix=reader.skipped[0][1] if reader.skipped else "")
    fitted = fit_confidence(sample.shares, sample.ground_truth, classes, target)
    one = "thresholds" if target.per_class else "threshold"
    results = {
        "schema": SCHEMA,
        "temperature": fitted.temperature,
        "measure": target.measure,
        one: fitted.thresholds,
        "never": fitted.never,
        "backbone": model.backbone,
        "vocabulary": vocabulary_fingerprint(vocabulary.classes, vocabulary.phrases),
        "reading": readout.resolved(backbone) | {"refine": settings.refine.steps},
        "figures": fitted.figures | {"images": sample.images},
        "curve": {
            when: [dict(zip(("threshold", "precision", "coverage"), point, strict=True)) for point in points]
            for when, points in fitted.curves.items()
        },
        "dataset": {"name": settings.data.name, "split": data.split, "fingerprint": dataset.fingerprint()},
        "skipped": [list(pair) for pair in reader.skipped],
        "seed": settings.seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    lines = {"T = 1": fitted.curves["before"], f"T = {fitted.temperature:.3g}": fitted.curves["after"]}
    points = {name: [(coverage, precision) for _, precision, coverage in line] for name, line in lines.items()}
    plot = coverage_plot(points, wished=target.precision)
    with atomic_write(out.with_suffix(".png")) as part:
        plot.save(part, format="PNG")
    with atomic_write(out) as part:  # every digit: rounded thresholds would keep other pixels than were counted
        part.write_text(json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    _print(fitted, reader.skipped, target, sample, console)
    print(out)
    return 1 if reader.skipped else 0


def _print(
    fitted: CalibrationResult,
    skipped: Sequence[tuple[str, str]],
    target: TargetPrecision,
    sample: PixelSample,
    console: Console,
) -> None:
    figures = fitted.figures

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    say(f"{figures['pixels']:,} pixels of {sample.images} images, {100 * figures['accuracy']:.1f} % of them right")
    say(
        f"temperature {fitted.temperature:.4g}: ECE {100 * figures['ece_before']:.2f} % before, "
        f"{100 * figures['ece_after']:.2f} % after"
    )
    what = "a threshold of each class" if target.per_class else f"threshold {fitted.thresholds:.4f}"
    say(
        f"{target.measure}, {what}: {100 * figures['coverage']:.1f} % of the pixels are kept, "
        f"{100 * figures['precision']:.1f} % of them right (on this sample)"
    )
    if fitted.never:
        say(f"{len(fitted.never)} classes are never labelled, for no threshold gives {target.precision:g}:")
        for name, reason in list(fitted.never.items())[:10]:
            say(f"  {name}: {reason}")
        if len(fitted.never) > 10:
            say(f"  and {len(fitted.never) - 10} more")
    for path, reason in skipped:
        say(f"skipped {path}: {reason}")


def _parser() -> ArgumentParser:
    known = parser("Temperature and thresholds of confidence, fitted on images with masks.")
    known.add_argument("--model", type=BackboneSettings, default=BackboneSettings())
    known.add_argument("--data", type=DataSettings, default=DataSettings())
    known.add_argument("--refine", type=Refinement, default=Refinement())
    known.add_argument("--precision", type=float, default=0.95, help="wished share of right pixels among those kept")
    known.add_argument("--measure", type=str, default="margin", help="margin, entropy or max_probability")
    known.add_argument("--per_class", type=bool, default=False, help="a threshold of each class")
    known.add_argument("--least_pixels", type=int, default=100, help="of the sample that a threshold must keep")
    known.add_argument("--pixels", type=int, default=100_000, help="how many pixels the fit looks at, at most")
    known.add_argument("--device", type=str, default="cpu")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=str, default="out/calibration.json")
    return known


def _data(settings: Namespace) -> SegmentationData:
    if len(settings.splits or []) > 1:
        raise UserError(f"{len(settings.splits)} splits", allowed="one", fix="--data.splits [NAME]")
    return SegmentationData(
        settings.name,
        settings.root,
        (settings.splits or [None])[0],
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        limit=settings.limit,
    )
