"""`ca-seg calibrate --root SAMPLE --precision 0.95`: confidence fitted on a labelled sample.

Writes the temperature and the thresholds that `ca-seg label --calibration FILE` takes, and a plot beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import track

from ca_seg.cli.parser import JobParser
from ca_seg.jobs.calibrate import CalibrationResult, CalibrationSettings, calibrate

MAX_CLASSES_SHOWN = 10


def run(arguments: Sequence[str]) -> int:
    """0, or 1 when an image was skipped."""
    description = "Temperature and thresholds of confidence, fitted on images with masks."
    settings = JobParser("ca-seg calibrate", description, CalibrationSettings, out="out/calibration.json").parse(
        arguments
    )
    console = Console()
    result = calibrate(settings=settings, progress=lambda batches: track(batches, "batches", console=console))
    for line in _lines(result):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    print(settings.out)
    return 1 if result.skipped else 0


def _lines(result: CalibrationResult) -> list[str]:
    fitted, target, figures = result.fitted, result.target, result.fitted.figures
    threshold = "one threshold per class" if target.per_class else f"threshold {fitted.thresholds:.4f}"
    lines = [
        f"{figures['pixels']:,} pixels of {result.images} images, {100 * figures['accuracy']:.1f} % of them correct",
        f"temperature {fitted.temperature:.4g}: ECE {100 * figures['ece_before']:.2f} % before, "
        f"{100 * figures['ece_after']:.2f} % after",
        f"{target.measure}, {threshold}: {100 * figures['coverage']:.1f} % of the pixels keep their label, "
        f"{100 * figures['precision']:.1f} % of them correct (on this sample)",
    ]
    if fitted.never:
        lines.append(f"{len(fitted.never)} classes are never labelled: no threshold gives {target.precision:g}")
        lines += [f"  {name}: {reason}" for name, reason in list(fitted.never.items())[:MAX_CLASSES_SHOWN]]
        if len(fitted.never) > MAX_CLASSES_SHOWN:
            lines.append(f"  and {len(fitted.never) - MAX_CLASSES_SHOWN} more")
    return lines + [f"skipped {path}: {reason}" for path, reason in result.skipped]
