"""How good pseudo-labels are on images with masks, before and after their confidence is fitted on other images.

    python -m recipes.label_quality --data scenes --fit val --report train --out out/label_quality

Temperature and thresholds come from the split `--fit` only; every figure is of `--report`. Writes OUT.json, OUT.md (a
table) and OUT_SPLIT.png (precision against coverage).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca_seg.atomic import atomic_write
from ca_seg.confidence.fit import TargetPrecision, fit_confidence
from ca_seg.confidence.label_quality import LabelQuality
from ca_seg.confidence.measures import MEASURES
from ca_seg.confidence.pixel_sample import LabelledMapsReader, PixelSample, labelled_pixels
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.visual.plots import coverage_plot
from recipes.command import run
from recipes.page import fill

HEADER = ("confidence", "T", "threshold", "ECE", "precision", "coverage", "mIoU of kept", "classes kept")
PER_CLASS, DETAILED = "margin, T fitted, by class", "margin, T fitted"


@dataclass(frozen=True)
class QualityReport:
    """What `label_quality` found: figures, a table in Markdown, and images that could not be read."""

    content: dict[str, Any]
    markdown: str
    skipped: tuple[tuple[str, str], ...]


def label_quality(
    model: BackboneSettings,
    data: DataSettings,
    *,
    fit: str,
    report: Sequence[str],
    out: Path,
    precision: float = 0.95,
    pixels: int = 100_000,
    device: str = "cpu",
) -> QualityReport:
    """Fit confidence on the split `fit`, score labels on the splits `report`, and write `out`.json, .md and .png.

    Raises UserError when an image is in both.
    """
    fitted_on = data.module(fit)
    classes = fitted_on.class_list.names
    _check_apart(data, fit, report)
    reader = LabelledMapsReader(model.predictor(model.load(device)), data.vocabulary(classes))
    sample = PixelSample(len(classes), len(fitted_on.dataset(fit)), pixels)
    for labelled in reader.read(fitted_on.test_dataloader(), device):
        sample.add(labelled)
    variants = _variants(sample, classes, precision)
    content: dict[str, Any] = {
        "backbone": model.backbone,
        "data": data.name,
        "fit": {"split": fit, "images": sample.images, "pixels": len(sample.ground_truth)},
        "precision_wished": precision,
        "report": {},
    }
    tables = []
    for split in report:
        qualities = {name: LabelQuality(len(classes), **options) for name, options in variants.items()}
        images = 0
        for labelled in reader.read(data.module(split).test_dataloader(), device):
            images += 1
            for probabilities, ground_truth in labelled_pixels(labelled):
                for quality in qualities.values():
                    quality.update(probabilities, ground_truth)
        content["report"][split] = {
            "images": images,
            "figures": {name: quality.figures() for name, quality in qualities.items()},
            "curves": {name: [vars(point) for point in quality.points()] for name, quality in qualities.items()},
        }
        tables += [_table(split, images, variants, qualities), f"{DETAILED}:\n", _steps(qualities[DETAILED])]
        plot = coverage_plot(
            {name: quality.curve() for name, quality in qualities.items() if name != PER_CLASS},
            target=precision,
            title=f"{model.backbone} on {data.name}, {split}",
        )
        with atomic_write(out.with_name(f"{out.name}_{split}.png")) as part:
            plot.save(part, format="PNG")
    content["skipped"] = [list(pair) for pair in reader.skipped]
    write_json(out.with_suffix(".json"), content)
    markdown = "\n".join(tables)
    with atomic_write(out.with_suffix(".md")) as part:
        part.write_text(markdown, encoding="utf-8")
    return QualityReport(content, markdown, tuple(reader.skipped))


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 when an image was skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--root")
    parser.add_argument("--fit", default="val", help="the split that temperature and thresholds are fitted on")
    parser.add_argument("--report", nargs="+", default=["train"], help="the splits that are reported")
    parser.add_argument("--precision", type=float, default=0.95)
    parser.add_argument("--pixels", type=int, default=100_000, help="pixels to fit on")
    parser.add_argument("--limit", type=int, help="only the first images of each split")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("out/label_quality"))
    parser.add_argument("--page", type=Path, help="a page whose tables, marked with the name of the data, are renewed")
    args = parser.parse_args(arguments)
    report = label_quality(
        BackboneSettings(backbone=args.backbone),
        DataSettings(name=args.data, root=args.root, limit=args.limit),
        fit=args.fit,
        report=args.report,
        out=args.out,
        precision=args.precision,
        pixels=args.pixels,
        device=args.device,
    )
    print(report.markdown)
    if args.page is not None:
        fill(args.page, args.data, report.markdown)
    for path, reason in report.skipped:
        print(f"skipped {path}: {reason}")
    return 1 if report.skipped else 0


def _check_apart(data: DataSettings, fit: str, report: Sequence[str]) -> None:
    """Raises UserError when an image is both fitted on and reported."""
    fitted_on = set(data.module(fit).dataset(fit).image_ids)
    for split in report:
        in_both = fitted_on & set(data.module(split).dataset(split).image_ids)
        if in_both:
            raise UserError(f"{len(in_both)} images are in {fit!r} and in {split!r}", fix="report on other images")


def _variants(sample: PixelSample, classes: tuple[str, ...], precision: float) -> dict[str, dict[str, Any]]:
    """Options of LabelQuality by name: unchanged probabilities, each measure at the fitted temperature, per class."""
    targets: dict[str, tuple[TargetPrecision, float | None]] = {
        "margin, T = 1": (TargetPrecision(precision), 1.0),
        **{f"{measure}, T fitted": (TargetPrecision(precision, measure), None) for measure in MEASURES},
        PER_CLASS: (TargetPrecision(precision, per_class=True), None),
    }
    variants: dict[str, dict[str, Any]] = {}
    for name, (target, temperature) in targets.items():
        fitted = fit_confidence(sample.probabilities, sample.ground_truth, classes, target, temperature=temperature)
        fit = fitted.thresholds
        thresholds = [fit[name] for name in classes] if isinstance(fit, dict) else [fit] * len(classes)
        variants[name] = {"temperature": fitted.temperature, "measure": target.measure, "thresholds": thresholds}
    return variants


def _table(split: str, images: int, variants: Mapping[str, Any], qualities: Mapping[str, LabelQuality]) -> str:
    """One split as a table in Markdown, in percent."""
    lines = [f"`{split}`, {images} images", "", _row(HEADER), "|---" * len(HEADER) + "|"]
    first = next(iter(qualities.values())).figures()
    cells = ["everything kept", "1", "0", _percent(first["ece"], 2)]
    cells += [_percent(first["accuracy"]), "100.0", _percent(first["miou"]), str(first["classes"])]
    lines.append(_row(cells))
    for name, quality in qualities.items():
        figures, thresholds = quality.figures(), variants[name]["thresholds"]
        cells = [name, f"{figures['temperature']:.3f}", f"{thresholds[0]:.3f}" if name != PER_CLASS else "one each"]
        cells += [_percent(figures["ece"], 2), _percent(figures["kept_precision"]), _percent(figures["kept_coverage"])]
        lines.append(_row([*cells, _percent(figures["kept_miou"]), str(figures["kept_classes"])]))
    return "\n".join(lines) + "\n"


def _steps(quality: LabelQuality) -> str:
    """What is kept at every second step of the threshold, as a table in Markdown."""
    lines = ["| threshold | coverage | precision | mIoU of kept | classes kept |", "|---|---|---|---|---|"]
    for point in list(quality.points())[::2]:
        cells = [f"{point.threshold:.2f}", *(_percent(v) for v in (point.coverage, point.precision, point.miou))]
        lines.append(_row([*cells, str(point.classes)]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}"


if __name__ == "__main__":
    run(main)
