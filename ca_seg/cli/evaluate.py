"""`ca-seg eval` and `python eval.py`: zero-shot evaluation of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ca_seg.cli.parser import JobParser
from ca_seg.cli.stopping import when_stopped
from ca_seg.evaluation.table import print_results
from ca_seg.jobs.evaluate import EvaluationSettings, evaluate


def run(arguments: Sequence[str]) -> int:
    """0 when every image was scored and every expectation holds, else 1."""
    description = "Zero-shot segmentation of a dataset, scored under both protocols."
    settings = JobParser("ca-seg eval", description, EvaluationSettings, out="out/zero_shot").parse(arguments)
    console = Console()
    advice = f"what is counted so far is kept in {Path(settings.out) / 'progress'}: the same command again continues"
    with when_stopped(lambda: advice):
        results = evaluate(settings=settings, announce=lambda text: console.print(text, style="dim"))
    if not results.content:
        return 0  # another process than the first
    print_results(results.content, console)
    if settings.expect and settings.data.limit is not None:
        console.print("expected figures are those of the whole dataset: not checked with data.limit")
    if settings.report:
        for what, file in (("page", "index.html"), ("picture of the best, middle and worst image", "examples.png")):
            console.print(f"{what}: {Path(settings.out) / file}", soft_wrap=True, markup=False)
    print(Path(settings.out) / "results.json")
    return 0 if results.complete and results.as_expected else 1
