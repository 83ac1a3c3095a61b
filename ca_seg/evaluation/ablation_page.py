"""The page of an ablation: a plot for each setting that is a number, and all tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.visual.page import write_page
from ca_seg.visual.plots import lines_plot
from ca_seg.visual.report import GalleryItem, PageReport, ReportTable

HEAD = ("oracle mIoU", "oracle acc", "full mIoU", "full acc")
PLOTTED = ("layer, output", "layer, cross-attention", "timestep", "samples", "resolution")  # tables along a number


def percent(figures: Mapping[str, float]) -> tuple[str, ...]:
    """The figures of one entry in the order of HEAD."""
    names = ("oracle_miou", "oracle_accuracy", "full_miou", "full_accuracy")
    return tuple(f"{100 * figures[name]:.1f}" for name in names)


def write_ablation_page(folder: Path, content: Mapping[str, Any]) -> None:
    """Write FOLDER/index.html and a PNG for each plot. `content` is what ablation.json holds."""
    plots = []
    for table in PLOTTED:
        image = _plot(content, table)
        if image is not None:
            with atomic_write(folder / f"{table.replace(', ', '_')}.png") as part:
                image.save(part, format="PNG")
            plots.append((table, image))
    tables = tuple(
        ReportTable(table, ("", *HEAD), tuple((entry, *percent(figures)) for entry, figures in entries.items()))
        for table, entries in content["tables"].items()
    )
    facts = (("images", str(content["dataset"]["images"])), ("date", content["date"]))
    lead = "oracle: only the classes that are in an image are offered; full: all classes of the dataset. In percent."
    caption = "one setting varied, the others as the card says"
    gallery = (("Plots", (GalleryItem(caption, tuple(plots)),)),) if plots else ()
    name = f"Ablations of {content['backbone']} on {content['dataset']['name']}"
    write_page(folder / "index.html", PageReport(name, lead, facts, tables, gallery))


def _plot(content: Mapping[str, Any], table: str) -> Image.Image | None:
    """The figures of a table against its setting; None where fewer than two entries are numbers."""
    entries = content["tables"].get(table, {})
    points = {float(entry): figures for entry, figures in entries.items() if entry.replace(".", "").isdigit()}
    if len(points) < 2:
        return None
    lines = {
        f"{protocol}, {'mIoU' if name == 'miou' else name}": [
            (value, 100 * figures[f"{protocol}_{name}"]) for value, figures in points.items()
        ]
        for protocol, name in itertools.product(("oracle", "full"), ("miou", "accuracy"))
    }
    return lines_plot(f"{content['backbone']} on {content['dataset']['name']}", table, "%", lines)
