"""How good pseudo-labels are on images with masks, before and after their confidence is fitted on other images.

    python -m recipes.label_quality --data scenes --fit val --report train --out out/label_quality

Temperature and thresholds come from the split `--fit` alone; every figure is of `--report`. Writes OUT.json, OUT.md (a
table) and OUT.png (precision against coverage).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ca_seg.atomic import atomic_write
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.cli.guarded import guarded
from ca_seg.confidence.fit import TargetPrecision, fit_confidence
from ca_seg.confidence.label_quality import LabelQuality
from ca_seg.confidence.numpy_measures import MEASURES
from ca_seg.confidence.pixel_sample import PixelSample, SharesReader, pixels_of
from ca_seg.data.catalogue import class_words
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from ca_seg.predictors.registry import of_backbone
from ca_seg.visual.plots import coverage_plot
from ca_seg.vocabulary import Vocabulary

HEAD = ("confidence", "T", "threshold", "ECE", "precision", "coverage", "mIoU of kept", "classes kept")
BY_CLASS, SHOWN = "margin, T fitted, by class", "margin, T fitted"


def main(arguments: Sequence[str] | None = None) -> int:
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
    args = parser.parse_args(arguments)
    own = opened(args, args.fit)
    classes = own.class_list.names
    check_apart(args, own)
    record = of_backbone(load_backbone(args.backbone, device=args.device), ReadoutConfig())
    vocabulary = Vocabulary.from_names(classes, synonyms=class_words(args.data).synonyms)
    reader = SharesReader(record, vocabulary)
    sample = PixelSample(len(classes), len(own.dataset(args.fit)), args.pixels)
    for labelled in reader.read(own.test_dataloader(), args.device):
        sample.add(labelled)
    made = candidates(sample, classes, args.precision)
    results: dict[str, Any] = {
        "backbone": args.backbone,
        "data": args.data,
        "fit": {"split": args.fit, "images": sample.images, "pixels": len(sample.ground_truth)},
        "precision_wished": args.precision,
        "report": {},
    }
    tables = []
    for split in args.report:
        scored = {name: LabelQuality(len(classes), **settings) for name, settings in made.items()}
        images = 0
        for labelled in reader.read(opened(args, split).test_dataloader(), args.device):
            images += 1
            for shares, ground_truth in pixels_of(labelled):
                for quality in scored.values():
                    quality.update(shares, ground_truth)
        results["report"][split] = {
            "images": images,
            "figures": {name: quality.figures() for name, quality in scored.items()},
            "curves": {name: [vars(point) for point in quality.points()] for name, quality in scored.items()},
        }
        tables += [table(split, images, made, scored), f"{SHOWN}:\n", steps(scored[SHOWN])]
        plot = coverage_plot(
            {name: scored[name].curve() for name in scored if name != BY_CLASS},
            wished=args.precision,
            title=f"{args.backbone} on {args.data}, {split}",
        )
        with atomic_write(args.out.with_name(f"{args.out.name}_{split}.png")) as part:
            plot.save(part, format="PNG")
    results["skipped"] = [list(pair) for pair in reader.skipped]
    write_json(args.out.with_suffix(".json"), results)
    with atomic_write(args.out.with_suffix(".md")) as part:
        part.write_text("\n".join(tables), encoding="utf-8")
    print("\n".join(tables))
    for path, reason in reader.skipped:
        print(f"skipped {path}: {reason}")
    return 1 if reader.skipped else 0


def opened(args: argparse.Namespace, split: str) -> SegmentationData:
    return SegmentationData(args.data, args.root, split, limit=args.limit)


def check_apart(args: argparse.Namespace, own: SegmentationData) -> None:
    """Raises UserError when an image is both fitted on and reported."""
    fitted = set(own.dataset(args.fit).image_ids)
    for split in args.report:
        both = fitted & set(opened(args, split).dataset(split).image_ids)
        if both:
            raise UserError(f"{len(both)} images are in {args.fit!r} and in {split!r}", fix="report on other images")


def candidates(sample: PixelSample, classes: tuple[str, ...], precision: float) -> dict[str, dict[str, Any]]:
    """Settings of LabelQuality by name: the shares as they come, each measure at the fitted temperature, by class."""
    wishes = {
        "margin, T = 1": (TargetPrecision(precision), 1.0),
        **{f"{measure}, T fitted": (TargetPrecision(precision, measure), None) for measure in MEASURES},
        BY_CLASS: (TargetPrecision(precision, per_class=True), None),
    }
    made: dict[str, dict[str, Any]] = {}
    for name, (target, temperature) in wishes.items():
        fitted = fit_confidence(sample.shares, sample.ground_truth, classes, target, temperature=temperature)
        one = fitted.thresholds
        least = [one[name] for name in classes] if isinstance(one, dict) else [one] * len(classes)
        made[name] = {"temperature": fitted.temperature, "measure": target.measure, "thresholds": least}
    return made


def table(split: str, images: int, made: Mapping[str, Any], scored: Mapping[str, LabelQuality]) -> str:
    """One split as a table in Markdown, in percent."""
    lines = [f"`{split}`, {images} images", "", "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    first = next(iter(scored.values())).figures()
    cells = ["everything kept", "1", "0", _percent(first["ece"], 2)]
    cells += [_percent(first["accuracy"]), "100.0", _percent(first["miou"]), str(first["classes"])]
    lines.append("| " + " | ".join(cells) + " |")
    for name, quality in scored.items():
        found, least = quality.figures(), made[name]["thresholds"]
        cells = [name, f"{found['temperature']:.3f}", f"{least[0]:.3f}" if name != BY_CLASS else "one each"]
        cells += [_percent(found["ece"], 2), _percent(found["kept_precision"]), _percent(found["kept_coverage"])]
        lines.append("| " + " | ".join([*cells, _percent(found["kept_miou"]), str(found["kept_classes"])]) + " |")
    return "\n".join(lines) + "\n"


def steps(quality: LabelQuality) -> str:
    """What is kept at every second step of the threshold, as a table in Markdown."""
    points = list(quality.points())
    lines = ["| threshold | coverage | precision | mIoU of kept | classes kept |", "|---|---|---|---|---|"]
    for point in points[::2]:
        cells = [f"{point.threshold:.2f}", *(_percent(v) for v in (point.coverage, point.precision, point.miou))]
        lines.append("| " + " | ".join([*cells, str(point.classes)]) + " |")
    return "\n".join(lines) + "\n"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}"


if __name__ == "__main__":
    raise SystemExit(guarded(main))
