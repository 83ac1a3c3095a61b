"""`python eval.py --config-file FILE [--key.sub value ...] [--out DIR]`: a zero-shot evaluation."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from rich.console import Console

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.card import find_card
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.reading import Reading
from ca_seg.cli.arguments import Parsed, add_trainer, new_trainer, parse, parser, quiet_lightning
from ca_seg.cli.guarded import guarded
from ca_seg.cli.settings import DataSettings, MethodSettings
from ca_seg.data.catalogue import dataset_words
from ca_seg.data.datamodule import SegmentationData
from ca_seg.evaluation.gallery import GALLERY, galleries, middle
from ca_seg.evaluation.methods import (
    COLOUR,
    RANDOM_WEIGHTS,
    TRIVIAL,
    check_methods,
    class_pixels,
    colour_bound,
    of_backbone,
    trivial,
)
from ca_seg.evaluation.page import write_report
from ca_seg.evaluation.predictions import PredictionWriter
from ca_seg.evaluation.progress import Progress
from ca_seg.evaluation.refinement import Refinement, refine_by
from ca_seg.evaluation.results import (
    SCHEMA,
    check_expected,
    check_pairs,
    fingerprint,
    settings_name,
    versions,
    write_results,
)
from ca_seg.evaluation.run import Cell, score
from ca_seg.evaluation.several_views import record_views
from ca_seg.evaluation.table import print_results
from ca_seg.evaluation.trained_head import of_head
from ca_seg.heads.trained import load_head
from ca_seg.tasks.zero_shot import Record

ALL = "all"
REFINED = "without refinement"  # the row of the same backbone with every step off


def evaluate(arguments: Sequence[str]) -> int:
    """Run the evaluation; 0 when every picture was scored and every expectation holds, else 1."""
    parsed = _parse(arguments)
    settings = parsed.settings
    out, console, start = Path(settings.out), Console(), time.monotonic()
    main: MethodSettings = settings.model
    main.check()
    find_card(main.backbone)
    head = load_head(main.head, backbone=main.backbone) if main.head else None
    own = main.backbone if head is None else f"{main.backbone} + {head.kind}"
    check_methods(settings.compare)
    check_pairs(settings.expect)
    quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    trainer = new_trainer(
        **parsed.trainer
        | {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}  # shares are our own
    )
    splits = settings.data.splits or [None]
    data = {split or ALL: _data(settings.data, split) for split in splits}
    first = trainer.is_global_zero
    console.quiet = not first
    settled = settings_name(parsed.given)
    writer = (
        PredictionWriter(out / "predictions", data[splits[0] or ALL].class_list) if settings.save_predictions else None
    )

    device = str(trainer.strategy.root_device)
    cells: dict[str, dict[str, Cell]] = {}
    used: dict[str, Any] = {}
    shown = ()
    synonyms = dataset_words(settings.data.name).synonyms | (main.synonyms or {})
    refine = refine_by(settings.refine, data[splits[0] or ALL].class_list.names)
    if head is not None:
        head.places_of(data[splits[0] or ALL].class_list.names)  # before anything is computed
    rows = [own, *([REFINED] if refine and settings.unrefined else []), *settings.compare]
    for name in rows:
        reading, record = Reading(), None
        if name in (main.backbone, REFINED):
            reading = main.reading(queries="attention" in settings.refine.steps)
        if name not in TRIVIAL or name == RANDOM_WEIGHTS:
            learnt = head if name in (own, REFINED) else None
            if learnt is not None:
                reading = Reading.from_plain(learnt.reading)
            backbone = _backbone(main, main.backbone if learnt else name, device)
            used[name] = reading.resolved(backbone) | ({"refine": settings.refine.steps} if name == own else {})
            views = main.views() if name in (main.backbone, REFINED) else None
            if learnt is not None:
                record = of_head(learnt, backbone)
            else:
                record = of_backbone(backbone, reading) if views is None else record_views(backbone, reading, views)
        cells[name] = {}
        for split, part in data.items():
            console.print(f"{name} on {split}", style="dim")
            method = record or _without_backbone(name, part)
            progress = Progress(out / "progress" / f"{name}-{split}-{trainer.global_rank}.safetensors", settled)
            cells[name][split] = score(
                trainer,
                method,
                part,
                seed=settings.seed,
                synonyms=synonyms,
                template=main.template,
                refine=refine if name == own else None,
                calibrated=reading.softmax and not (refine and name == own),
                progress=progress,
                keep=writer if name == own else None,
            )
        if name == own and settings.report and first:
            shown = galleries(cells[name], data, record, settings.seed, device)
        backbone = record = method = None  # before the next is loaded

    if not first:
        return 0
    results = _results(own, settings, parsed.given, cells, data, used, time.monotonic() - start)
    write_results(out / "results.json", results)  # before anything that may fail: hours may have gone into it
    if settings.data.limit is None:
        results["expect"] = check_expected(settings.expect, results)
    elif settings.expect:
        console.print("expected figures are those of the whole dataset: not checked with --data.limit")
    write_results(out / "results.json", results)
    shutil.rmtree(out / "progress", ignore_errors=True)
    print_results(results, console)
    if settings.report:
        write_report(out / "index.html", results, shown)
        console.print(f"page: {out / 'index.html'}", soft_wrap=True, markup=False)
    print(out / "results.json")
    complete = all(cell.complete for row in cells.values() for cell in row.values())
    return 0 if complete and all(check["holds"] for check in results["expect"]) else 1


def _without_backbone(name: str, part: SegmentationData) -> Record:
    dataset = part.dataset(part.split)
    if name == COLOUR:
        return colour_bound(dataset.class_list.names)
    return trivial(name, lambda: class_pixels(dataset))


def _backbone(main: MethodSettings, name: str, device: str) -> Backbone:
    """The evaluated backbone as its settings say; another one, or fresh weights, as its card says."""
    if name in (main.backbone, REFINED):
        return main.load(device)
    if name == RANDOM_WEIGHTS:
        return load_backbone(
            main.backbone, weights=main.weights, device=device, resolution=main.resolution, random_weights=True
        )
    return load_backbone(name, device=device, precision=main.precision)


def _parse(arguments: Sequence[str]) -> Parsed:
    known = parser("Zero-shot segmentation of a dataset, scored under both protocols.")
    known.add_argument("--model", type=MethodSettings, default=MethodSettings())
    known.add_argument("--data", type=DataSettings, default=DataSettings())
    known.add_argument("--refine", type=Refinement, default=Refinement())
    known.add_argument("--unrefined", type=bool, default=True, help="with refinement, a row without it too")
    known.add_argument("--compare", type=list[str], default=[], help="further rows: backbones, " + ", ".join(TRIVIAL))
    known.add_argument("--expect", type=dict[str, Any], default={}, help="path/to/figure: [value, tolerance]")
    known.add_argument("--save_predictions", type=bool, default=False, help="write OUT/predictions/PROTOCOL/STEM.png")
    known.add_argument("--report", type=bool, default=True, help="write OUT/index.html with overlays and heat maps")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=str, default="out/zero_shot")
    add_trainer(known, accelerator="auto", devices=1)
    return parse(known, arguments)


def _data(settings: DataSettings, split: str | None) -> SegmentationData:
    return SegmentationData(
        settings.name,
        settings.root,
        split,
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        limit=settings.limit,
    )


def _results(
    own: str,
    settings: Namespace,
    given: dict[str, Any],
    cells: dict[str, dict[str, Cell]],
    data: dict[str, SegmentationData],
    used: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    first = next(iter(data))
    head, row = cells[own][first], cells[own]
    dataset = data[first].dataset(data[first].split)
    scored, spent = sum(c.run for c in row.values()), sum(c.seconds for c in row.values())
    ranked = head.task.ranked()
    return {
        "schema": SCHEMA,
        "method": own,
        "reading": used.get(own, {}),
        "metrics": head.task.figures,
        "splits": {split: cell.task.figures for split, cell in row.items()},
        "methods": {m: {s: c.task.figures for s, c in by.items()} for m, by in cells.items()},
        "readings": used,
        "per_class": {protocol: head.task.class_table(protocol) for protocol in head.task.figures},
        "confusions": head.task.confusions("full-vocabulary"),
        "intervals": {m: {s: c.task.intervals for s, c in by.items()} for m, by in cells.items()},
        "reliability": head.task.reliability,
        "ranking": {"best": ranked[:GALLERY], "middle": middle(ranked, GALLERY), "worst": ranked[::-1][:GALLERY]},
        "pictures": {s: c.task.pictures for s, c in row.items()},
        "dataset": {
            "name": settings.data.name,
            "split": first,
            "classes": len(dataset.class_list),
            "pictures": {split: cell.pictures for split, cell in row.items()},
            "fingerprint": fingerprint(dataset),
        },
        "skipped": [list(pair) for cell in row.values() for pair in cell.task.skipped],
        "speed": {"pictures": scored, "seconds": spent, "pictures_per_second": scored / max(spent, 1e-9)},
        "seconds": seconds,
        "seed": settings.seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "config": given,
        "expect": [],
    }


def main() -> int:
    return guarded(lambda: evaluate(sys.argv[1:]))
