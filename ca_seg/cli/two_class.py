"""`ca-seg two-class`: the paper's protocol, one object against background words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ca_seg.cli.parser import JobParser
from ca_seg.jobs.two_class import TwoClassSettings, two_class

FIGURES = {"accuracy": "accuracy", "paper_miou": "mIoU, paper's", "true_miou": "mIoU, true", "map": "mAP, paper's"}


def run(arguments: Sequence[str]) -> int:
    """0, or 1 when an image could not be read."""
    description = "The paper's two-class protocol: one object against background words."
    settings = JobParser("ca-seg two-class", description, TwoClassSettings, out="out/two_class").parse(arguments)
    results = two_class(settings=settings)
    content, console = results.content, Console()
    table = Table("method", "decision", *FIGURES.values(), box=SIMPLE_HEAD, pad_edge=False)
    for method, decisions in {content["method"]: results.figures, **results.compared}.items():
        for decision, figures in decisions.items():
            table.add_row(method, decision, *(f"{100 * figures[name]:.2f}" for name in FIGURES))
    name, protocol = content["dataset"]["name"], content["protocol"]
    console.print(f"{content['method']} on {name}: {content['images']} images, protocol: paper")
    words, size = ", ".join(protocol["background_words"]), protocol["size"]
    console.print(f"background words: {words}; compared at {size} x {size}", soft_wrap=True)
    console.print(table)
    if content["without_word"]:
        console.print(f"{content['without_word']} images have no word of their own: they are asked their class")
    if results.unsuitable:
        console.print(f"{results.unsuitable} images show several classes or none: this protocol cannot score them")
    print(Path(settings.out) / "results.json")
    return 0 if results.complete else 1
