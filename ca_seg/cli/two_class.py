"""`ca-seg two-class --config-file FILE`: the paper's protocol, one object against background words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ca_seg.cli.arguments import add_trainer, new_trainer, parse, parser, quiet_lightning
from ca_seg.data.catalogue import class_words
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from ca_seg.predictors.registry import of_backbone
from ca_seg.predictors.settings import BackboneSettings, DataSettings
from ca_seg.tasks.two_class import SIZE, TwoClass
from ca_seg.versions import versions

FIGURES = {"accuracy": "accuracy", "paper_miou": "mIoU, paper's", "true_miou": "mIoU, true", "map": "mAP, paper's"}


def run_two_class(arguments: Sequence[str]) -> int:
    """Prints the figures of both decisions and writes OUT/results.json; 1 when an image could not be read."""
    known = parser("The paper's two-class protocol: one object against background words.")
    known.add_argument("--model", type=BackboneSettings, default=BackboneSettings())
    known.add_argument("--data", type=DataSettings, default=DataSettings())
    known.add_argument("--background_words", type=list[str] | None, default=None, help="default: the dataset's own")
    known.add_argument("--words", type=str | None, default=None, help="JSON of words by image; default: dataset's")
    known.add_argument("--size", type=int, default=SIZE, help="pixels at which masks are compared")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=str, default="out/two_class")
    add_trainer(known, accelerator="auto", devices=1)
    parsed = parse(known, arguments)
    settings = parsed.settings
    quiet_lightning()
    data = SegmentationData(
        settings.data.name,
        settings.data.root,
        (settings.data.splits or [None])[0],
        batch_size=settings.data.batch_size,
        num_workers=settings.data.num_workers,
        limit=settings.data.limit,
    )
    own = class_words(settings.data.name)
    words = settings.background_words or own.synonyms.get(own.background or "", [])
    classes = data.class_list
    stuff = [name for name, kind in zip(classes.names, classes.kinds, strict=False) if kind == "stuff"]
    trainer = new_trainer(devices_at_most=1, **parsed.trainer | {"logger": False, "enable_checkpointing": False})
    backbone, readout = settings.model.load(str(trainer.strategy.root_device)), settings.model.readout()
    task = TwoClass(
        of_backbone(backbone, readout),
        classes.names,
        words,
        background=own.background or "background",
        stuff=stuff,
        words=_words(Path(settings.words)) if settings.words else data.dataset(data.split).image_words(),
        size=settings.size,
        seed=settings.seed,
    )
    trainer.test(task, datamodule=data, verbose=False)
    table = Table("decision", *FIGURES.values(), box=SIMPLE_HEAD, pad_edge=False)
    for decision, figures in task.figures.items():
        table.add_row(decision, *(f"{100 * figures[name]:.2f}" for name in FIGURES))
    console = Console()
    console.print(f"{settings.model.backbone} on {settings.data.name}: {task.scored} images, protocol: paper")
    console.print(
        f"background words: {', '.join(words)}; compared at {settings.size} x {settings.size}", soft_wrap=True
    )
    console.print(table)
    many = [pair for pair in task.skipped if pair[1].startswith("it shows")]
    if many:
        console.print(f"{len(many)} images show several classes or none, and have no place in this protocol")
    results = {
        "schema": "ca_seg.two_class/1",
        "protocol": {"name": "paper", "size": settings.size, "background_words": list(words)},
        "method": settings.model.backbone,
        "reading": readout.resolved(backbone),
        "figures": task.figures,
        "dataset": {"name": settings.data.name, "fingerprint": data.dataset(data.split).fingerprint()},
        "images": task.scored,
        "skipped": [list(pair) for pair in task.skipped],
        "seed": settings.seed,
        "versions": versions(),
    }
    write_json(Path(settings.out) / "results.json", results)
    print(Path(settings.out) / "results.json")
    return 1 if len(many) < len(task.skipped) else 0


def _words(file: Path) -> dict[str, str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{file} cannot be read ({problem})") from problem
    if not isinstance(content, dict) or not all(isinstance(word, str) and word.strip() for word in content.values()):
        raise UserError(f"{file} is not a table of words", fix='an example: {"00000": "goldfish"}')
    return content
