"""Two evaluations of the same images side by side: is the second better, and by how much?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ca_seg.bounded_files import read_json
from ca_seg.errors import UserError
from ca_seg.evaluation.results import SCHEMA, EvaluationResults
from ca_seg.jobs.arguments import check_path
from ca_seg.metrics.paired import paired_difference
from ca_seg.optional import optional_imports
from ca_seg.seed_range import check_seed

if TYPE_CHECKING:
    import pandas

FORMER_SCHEMA = "ca_seg.results/2"  # the same with "pictures" in place of "images"


@dataclass(frozen=True)
class ComparisonRow:
    """One split under one protocol; all figures are fractions, 0..1."""

    split: str
    protocol: str
    first: float  # mIoU of the split
    second: float
    difference: float  # second - first: the mean over images of the difference of their own mIoU
    interval: tuple[float, float]  # its 95 % bootstrap interval
    better: int  # images on which the second is better
    worse: int


@dataclass(frozen=True)
class Comparison:
    """What `ca_seg.compare` returns: the names of both methods, and a row for each split and protocol."""

    first: str
    second: str
    rows: tuple[ComparisonRow, ...]

    def to_pandas(self) -> pandas.DataFrame:
        """One row per split and protocol, one column per figure. Raises MissingExtra without pandas."""
        with optional_imports("to_pandas()"):
            import pandas
        return pandas.DataFrame([asdict(row) for row in self.rows])


def compare(
    first: str | Path | EvaluationResults, second: str | Path | EvaluationResults, *, seed: int = 0
) -> Comparison:
    """Compare two evaluations of the same images, image by image.

    Args:
        first: a results.json, the folder that has it, or what `ca_seg.evaluate` returned
        second: the same
        seed: of the bootstrap intervals

    Returns:
        For each split and protocol that both have: the mean difference (second - first) with its 95 % interval.

    Raises:
        UserError: for a file that cannot be read, and for results of different datasets, splits, images or ground truth
        OutOfRange: for what is no seed

    Example:
        >>> for row in ca_seg.compare("a/results.json", "b/results.json").rows:
        ...     print(row.split, row.protocol, row.difference, row.interval)
    """
    check_seed(seed)
    (one, one_name), (two, two_name) = _content(first, "the first"), _content(second, "the second")
    _check_dataset(one["dataset"], two["dataset"], (one_name, two_name))
    shared = [split for split in one["images"] if split in two["images"]]
    if not shared:
        raise UserError(
            f"{one_name} and {two_name} have no split in common",
            allowed=f"{', '.join(one['images'])} in the first, {', '.join(two['images'])} in the second",
        )
    rows = []
    for split in shared:
        for protocol, images in one["images"][split].items():
            if protocol not in two["images"][split]:
                continue
            difference = paired_difference(images, two["images"][split][protocol], seed=seed)
            rows.append(
                ComparisonRow(
                    split,
                    protocol,
                    first=one["splits"][split][protocol]["miou"],
                    second=two["splits"][split][protocol]["miou"],
                    difference=difference.mean,
                    interval=(difference.low, difference.high),
                    better=difference.better,
                    worse=difference.worse,
                )
            )
        _check_ground_truth(split, one["dataset"], two["dataset"], (one_name, two_name))
    return Comparison(one["method"], two["method"], tuple(rows))


def _check_dataset(one: Mapping[str, Any], two: Mapping[str, Any], names: tuple[str, str]) -> None:
    """Raises UserError for another name, number of classes or fingerprint, where both results have them."""
    kept = ["name", "classes"]
    if one.get("split") == two.get("split"):
        kept.append("fingerprint")  # of the first split alone
    for key in kept:
        if key in one and key in two and one[key] != two[key]:
            what = f"{names[0]} and {names[1]} are of different datasets: {key} {one[key]} and {two[key]}"
            raise UserError(what, allowed="the same files and classes", fix="evaluate both on one dataset")


def _check_ground_truth(split: str, one: Mapping[str, Any], two: Mapping[str, Any], names: tuple[str, str]) -> None:
    """Raises UserError where the masks of the same images have other pixels, where both results count them."""
    first, second = (_pixels(dataset, split) for dataset in (one, two))
    if first and second and first != second:
        differing = next(name for name in {**first, **second} if first.get(name) != second.get(name))
        counts = " and ".join(str(pixels.get(differing, "none")) for pixels in (first, second))
        raise UserError(
            f"{names[0]} and {names[1]} have other ground truth in {split}: {counts} pixels of {differing}",
            fix="evaluate both on the same masks",
        )


def _pixels(dataset: Mapping[str, Any], split: str) -> dict[str, Any]:
    return dataset["pixels"].get(split, {}) if "pixels" in dataset else {}


def _content(results: str | Path | EvaluationResults, name: str) -> tuple[dict[str, Any], str]:
    """What results.json holds, in the present schema, and what to call it in a message."""
    if isinstance(results, EvaluationResults):
        return results.content, name
    check_path(name, results)
    path = Path(results)
    path = path / "results.json" if path.is_dir() else path
    try:
        content = read_json(path)
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} cannot be read ({problem})", fix="give a results.json of an evaluation") from problem
    if isinstance(content, dict) and content.get("schema") == FORMER_SCHEMA and "pictures" in content:
        content = content | {"schema": SCHEMA, "images": content["pictures"]}
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "images" not in content:
        raise UserError(f"{path} is not a {SCHEMA}", fix="evaluate again with this version")
    try:
        return content | _scores(content), str(path)
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        what = f"{path} is not as an evaluation writes it ({type(problem).__name__}: {problem})"
        raise UserError(what, fix="evaluate again with this version") from problem


def _scores(content: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared, as numbers; an image without a score is NaN, which JSON holds as null.

    Raises one of the errors above for content of another form.
    """
    if not isinstance(content["method"], str) or not isinstance(content["dataset"]["name"], str):
        raise ValueError("a name is not text")
    pixels = content["dataset"].get("pixels", {})
    if not isinstance(pixels, dict) or not all(isinstance(counts, dict) for counts in pixels.values()):
        raise ValueError("the pixels of a dataset are no table")
    images = {
        split: {protocol: {name: _score(value) for name, value in scores.items()} for protocol, scores in all.items()}
        for split, all in content["images"].items()
    }
    splits = {
        split: {protocol: {"miou": _score(content["splits"][split][protocol]["miou"])} for protocol in protocols}
        for split, protocols in images.items()
    }
    return {"images": images, "splits": splits}


def _score(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"a score is {value!r:.60}")
    return float(value)
