"""Put the tables of docs/photographs.md together from what the jobs wrote: python -m recipes.photo_jobs.page.

A row whose results are not there says "not measured".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from recipes.command import run
from recipes.page import fill, table
from recipes.photo_baselines.evaluate import NAME as TEACHER
from recipes.photo_jobs import heads, student
from recipes.photo_jobs.msrc import SEEDS, SIZES

PAGE, OUT = Path("docs/photographs.md"), Path("out/photographs")
MISSING = "not measured"
PROTOCOLS = ("oracle-presence", "full-vocabulary")
SPACES = ("cross-attention", "value")
# the row, the folder of its results below the dataset's, and its name there (None: the evaluated method)
ZERO_SHOT: tuple[tuple[str, str, str | None], ...] = (
    ("{backbone}", "main", "without refinement"),
    ("{backbone}, refined by {steps}", "main", None),
    *((f"{{backbone}}, {space} space", space, None) for space in SPACES),
    ("mini", "main", "mini"),
    ("bare teacher: an ImageNet classifier at each position", TEACHER, TEACHER),
    ("random weights", "main", "random-weights"),
    ("random maps", "main", "random-maps"),
    ("one class everywhere", "main", "one-class"),
    ("colour clusters, named by the ground truth", "main", "colour-clusters"),
)
FIGURES = ("miou", "pixel_accuracy")
STUDENTS = {
    "words": "student of labels from words, every pixel",
    "confident": "student of labels from words, uncertain pixels ignored",
    "masks": "student of the true masks",
}
PROBES = {
    "words": "linear head, labels from words",
    "confident": "linear head, labels from words, uncertain pixels ignored",
    "masks": "linear head, true masks",
}


def zero_shot_table(folder: Path, backbone: str) -> str:
    """The methods under both protocols, with 95 % intervals of mIoU."""
    header = ["method"]
    for name in ("oracle", "full"):
        header += [f"{name} mIoU", "acc", "mAP"]
    rows = []
    for label, part, method in ZERO_SHOT:
        results = _read(folder / part / "results.json")
        steps = " and ".join(results.get("config", {}).get("refine", {}).get("steps", [])) or "nothing"
        rows.append([label.format(backbone=backbone, steps=steps), *_zero_shot_cells(results, method)])
    return table(header, rows)


def heads_table(out: Path) -> str:
    """mIoU by the number of images, over seeds, and the pixel accuracy with all of them."""
    sizes = [*map(str, SIZES), heads.ALL]
    rows = []
    for row, label in heads.ROWS.items():
        by_size = [list(_over_seeds(out / heads.run_name(row, size))) for size in sizes]
        cells = [_spread([figures["miou"] for figures in runs]) for runs in by_size]
        if row in heads.BASELINES:
            cells[:-1] = [""] * len(SIZES)
        rows.append([label, *cells, _spread([figures["pixel_accuracy"] for figures in by_size[-1]])])
    return table(["features and head", *(f"{size} images" for size in sizes), f"acc, {heads.ALL}"], rows)


def choice_table(out: Path) -> str:
    """What the candidates scored on the held part of train; the chosen one in bold."""
    content = _read(out / "choice.json")
    rows = []
    for kind, scores in content.get("held_miou", {}).items():
        best = max(scores, key=lambda name: scores[name])
        rows += [[kind, f"**{name}**" if name == best else name, percent(miou)] for name, miou in scores.items()]
    return table(["choice", "candidate", "mIoU on held"], rows or [[MISSING] * 3])


def student_table(out: Path, zero_shot: Path, epochs: int) -> str:
    """The students of so many epochs and the backbone that labelled, scored on dev."""
    results = _read(zero_shot / "main" / "results.json")
    rows = []
    for label, protocol in (("zero-shot, all classes offered", 1), ("zero-shot, classes of each image given", 0)):
        figures = _figures(results, "without refinement")
        rows.append([label, *(percent(figures.get(PROTOCOLS[protocol], {}).get(f)) for f in FIGURES)])
    scores = {name: [_read(file) for file in sorted(out.glob(f"{name}-*-{epochs}-epochs.json"))] for name in STUDENTS}
    for name, label in STUDENTS.items():
        rows.append([label, *(_spread([run[figure] for run in scores[name]]) for figure in FIGURES)])
    probes = {name: list(_over_seeds(out / "probes" / name)) for name in PROBES}
    for name, label in PROBES.items():
        rows.append([label, *(_spread([run[figure] for run in probes[name]]) for figure in FIGURES)])
    return table(["", "mIoU", "acc"], rows) + _share_of_masks(scores, STUDENTS) + _share_of_masks(probes, PROBES)


def _share_of_masks(scores: Mapping[str, Sequence[Mapping[str, float]]], labels: Mapping[str, str]) -> str:
    """A sentence for each row that can be compared with the true masks."""
    if not scores["masks"]:
        return ""
    of_masks = mean(run["miou"] for run in scores["masks"])
    shares = {name: mean(run["miou"] for run in runs) / of_masks for name, runs in scores.items() if runs}
    sentence = "\n\n{}: {} % of the mIoU that true masks give."
    named = {name: labels[name][:1].upper() + labels[name][1:] for name in shares if name != "masks"}
    return "".join(sentence.format(label, percent(shares[name], 0)) for name, label in named.items())


def labels_table(out: Path) -> str:
    """How good the labels from words are, on images that the confidence was not fitted on."""
    fitted, quality = _read(out / "calibration.json"), _read(out / "labels.json")
    if not fitted or not quality:
        return MISSING
    figures = fitted["figures"]
    rows = [
        ["masks that the fit looked at", str(fitted["images"])],
        ["refinement (chosen there)", "+".join(fitted["refine"]) or "none"],
        ["temperature", f"{fitted['temperature']:.3f}"],
        ["threshold of the margin", f"{fitted['threshold']:.3f}"],
        [
            "calibration error there, before and after",
            f"{percent(figures['ece_before'])}, {percent(figures['ece_after'])}",
        ],
        ["other images of train", str(quality["images"])],
        ["calibration error", percent(quality["ece"])],
        ["every pixel: correct, mIoU", f"{percent(quality['accuracy'])}, {percent(quality['miou'])}"],
        [
            "pixels above the threshold: kept, correct, mIoU",
            ", ".join(percent(quality[f"kept_{name}"]) for name in ("coverage", "precision", "miou")),
        ],
    ]
    return table(["labels from words", "figure"], rows)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent; "not measured" for None."""
    return MISSING if value is None else f"{100 * value:.{digits}f}"


def _read(file: Path) -> dict[str, Any]:
    """The content of a file of results; empty where there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _figures(results: Mapping[str, Any], method: str | None) -> dict[str, Any]:
    """The figures of a method of an evaluation by protocol; None: of the evaluated one. Empty where it is not there."""
    splits = results.get("methods", {}).get(method or results.get("method"), {})
    return next(iter(splits.values()), {})


def _zero_shot_cells(results: Mapping[str, Any], method: str | None) -> list[str]:
    figures = _figures(results, method)
    if not figures:
        return [MISSING] + [""] * 5
    intervals = next(iter(results["intervals"][method or results["method"]].values()))
    cells = []
    for protocol in PROTOCOLS:
        low, high = intervals[protocol]["miou"]
        cells.append(f"{percent(figures[protocol]['miou'])} ({percent(low)} to {percent(high)})")
        cells += [percent(figures[protocol][name]) for name in ("pixel_accuracy", "map")]
    return cells


def _over_seeds(folder: Path) -> Iterator[dict[str, float]]:
    """The figures of each seed that was run."""
    for seed in SEEDS:
        results = _read(folder / str(seed) / "results.json")
        if results:
            yield results["metrics"]


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    if not values:
        return MISSING
    text = percent(mean(values))
    return f"{text} ± {percent(stdev(values))}" if len(values) > 1 else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="photo")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--student-epochs", type=int, default=student.EPOCHS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    msrc = args.out / "zero_shot" / "msrc"
    for name, text in (
        ("zero-shot on MSRC", zero_shot_table(msrc, args.backbone)),
        ("zero-shot on COCO", zero_shot_table(args.out / "zero_shot" / "coco", args.backbone)),
        ("choice", choice_table(args.out / "heads")),
        ("heads", heads_table(args.out / "heads")),
        ("labels", labels_table(args.out / "student")),
        ("student", student_table(args.out / "student", msrc, args.student_epochs)),
    ):
        fill(args.page, name, text)


if __name__ == "__main__":
    run(main)
