"""`ca-seg ablate --config-file FILE`: the paper's ablations as tables, plots and one page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ca_seg.atomic import atomic_write
from ca_seg.cli.arguments import parser, with_bases
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.collate import Skipped, SkipUnreadable
from ca_seg.evaluation.ablation import AblationGrid, Tables, ablate
from ca_seg.json_file import write_json
from ca_seg.predictors.settings import BackboneSettings, DataSettings
from ca_seg.versions import versions
from ca_seg.visual.page import write_page
from ca_seg.visual.plots import lines_plot
from ca_seg.visual.report import GalleryItem, PageReport, ReportTable

HEAD = ("oracle mIoU", "oracle acc", "full mIoU", "full acc")
LINES = ("layer, output", "layer, cross-attention", "timestep", "samples", "resolution")  # tables along a number


def run_ablation(arguments: Sequence[str]) -> int:
    """Writes OUT/ablation.json, OUT/*.png and OUT/index.html; 1 when an image was skipped."""
    known = _parser()
    settings = known.instantiate_classes(known.parse_args(with_bases(arguments)))
    model, console, out = settings.model, Console(), Path(settings.out)
    if model.layers is None:
        model.layers = [settings.last_layer] if settings.last_layer is not None else None
    backbone = model.load(settings.device)
    dataset = open_dataset(settings.data.name, settings.data.root, (settings.data.splits or [None])[0])
    dataset = dataset if settings.data.limit is None else dataset.first(settings.data.limit)
    tables, skipped = Tables(dataset.class_list.names), []

    def images() -> Iterator[dict[str, Any]]:
        readable = SkipUnreadable(dataset)
        for index in track(range(len(dataset)), "images", console=console):
            item = readable[index]
            if isinstance(item, Skipped):
                skipped.append(list(item))
            else:
                yield item

    count = ablate(backbone, images(), settings.grid, tables, settings.seed)
    found = tables.figures()
    for title, cells in found.items():
        table = Table(title, *HEAD, title_justify="left")
        for cell, figures in cells.items():
            table.add_row(cell, *_percent(figures))
        console.print(table)
    results = {
        "schema": "ca_seg.ablation/1",
        "backbone": model.backbone,
        "dataset": {"name": settings.data.name, "images": count, "fingerprint": dataset.fingerprint()},
        "tables": found,
        "skipped": skipped,
        "seed": settings.seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    write_json(out / "ablation.json", results)
    _write_page(out, results)
    print(out / "index.html")
    return 1 if skipped else 0


def _parser() -> ArgumentParser:
    known = parser("Ablations: space x softmax, concept attention, layers, timesteps, samples, normalisation.")
    known.add_argument("--model", type=BackboneSettings, default=BackboneSettings())
    known.add_argument("--data", type=DataSettings, default=DataSettings())
    known.add_argument("--grid", type=AblationGrid, default=AblationGrid())
    known.add_argument("--last_layer", type=int | None, default=None, help="load blocks up to this one")
    known.add_argument("--device", type=str, default="cpu")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=str, default="out/ablation")
    return known


def _write_page(out: Path, results: dict[str, Any]) -> None:
    plots = []
    for title in LINES:
        cells = results["tables"].get(title, {})
        points = {cell: f for cell, f in cells.items() if cell.replace(".", "").isdigit()}
        if len(points) < 2:
            continue
        lines = {
            f"{protocol}, {'mIoU' if name == 'miou' else name}": [
                (float(cell), 100 * figures[f"{protocol}_{name}"]) for cell, figures in points.items()
            ]
            for protocol, name in itertools.product(("oracle", "full"), ("miou", "accuracy"))
        }
        image = lines_plot(f"{results['backbone']} on {results['dataset']['name']}", title, "%", lines)
        with atomic_write(out / f"{title.replace(', ', '_')}.png") as part:
            image.save(part, format="PNG")
        plots.append((title, image))
    sections = tuple(
        ReportTable(title, ("", *HEAD), tuple((cell, *_percent(figures)) for cell, figures in cells.items()))
        for title, cells in results["tables"].items()
    )
    facts = (("images", str(results["dataset"]["images"])), ("date", results["date"]))
    lead = "oracle: only the classes that are in an image are offered; full: all classes of the dataset. In percent."
    shown = (
        (("Plots", (GalleryItem("one setting varied, the others as the card says", tuple(plots)),)),) if plots else ()
    )
    name = f"Ablations of {results['backbone']} on {results['dataset']['name']}"
    write_page(out / "index.html", PageReport(name, lead, facts, sections, shown))


def _percent(figures: dict[str, float]) -> tuple[str, ...]:
    names = ("oracle_miou", "oracle_accuracy", "full_miou", "full_accuracy")
    return tuple(f"{100 * figures[name]:.1f}" for name in names)
