"""`ca-seg ablate`: the paper's ablations as tables, plots and one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from ca_seg.cli.parser import JobParser
from ca_seg.evaluation.ablation_page import HEAD, percent
from ca_seg.jobs.ablate import AblationSettings, ablate


def run(arguments: Sequence[str]) -> int:
    """0, or 1 when an image was skipped."""
    description = (
        "Ablations: spaces, concept attention, layers, timesteps, noise samples, normalisation, resolutions, readers, "
        "templates, parts by padding, prompts."
    )
    settings = JobParser("ca-seg ablate", description, AblationSettings, out="out/ablation").parse(arguments)
    console = Console()
    results = ablate(settings=settings, progress=lambda indices: track(indices, "images", console=console))
    for title, entries in results.tables.items():
        table = Table(title, *HEAD, title_justify="left")
        for entry, figures in entries.items():
            table.add_row(entry, *percent(figures))
        console.print(table)
    print(Path(settings.out) / "index.html")
    return 1 if results.skipped else 0
