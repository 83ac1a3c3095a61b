"""The results of an evaluation: figures as attributes, as a table, as results.json, as one page and as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from ca_seg.atomic import atomic_write
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.evaluation.gallery import Gallery, best_middle_worst
from ca_seg.evaluation.page import write_report
from ca_seg.evaluation.run import SplitScores
from ca_seg.json_file import write_json
from ca_seg.optional import optional_imports
from ca_seg.versions import versions
from ca_seg.visual.examples import examples_picture

if TYPE_CHECKING:
    import pandas

SCHEMA = "ca_seg.results/3"


@dataclass(frozen=True)
class EvaluationResults:
    """What `ca_seg.evaluate` returns.

    `content` is what results.json holds: figures by method, split and protocol, per-class IoU, intervals, settings.
    """

    content: dict[str, Any]
    complete: bool  # every image of every split was scored
    gallery: Gallery | None = None  # the images that are shown; None where no report was asked for

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The figures of the evaluated method on the first split, all 0..1, by protocol and name.

        `metrics["oracle-presence"]["miou"]`: only the classes that an image shows are offered.
        `metrics["full-vocabulary"]["miou"]`: all classes of the dataset are.
        """
        return self.content["metrics"]

    @property
    def as_expected(self) -> bool:
        """Whether every figure that the settings expect holds; True where they expect none."""
        return all(check["holds"] for check in self.content["expect"])

    def to_pandas(self) -> pandas.DataFrame:
        """One row per method, split and protocol, one column per figure. Raises MissingExtra without pandas."""
        with optional_imports("to_pandas()"):
            import pandas
        rows = [
            {"method": method, "split": split, "protocol": protocol, **figures}
            for method, splits in self.content["methods"].items()
            for split, protocols in splits.items()
            for protocol, figures in protocols.items()
        ]
        return pandas.DataFrame(rows)

    def examples(self) -> Image:
        """The best, the middle and the worst image of the first split, each beside ground truth and prediction.

        Images are ranked by their own mIoU with all classes offered. Raises UserError where no report was asked for.

        Example:
            >>> results.examples().save("examples.png")
        """
        if self.gallery is None:
            raise UserError("the evaluation kept no images", fix="evaluate with report=True in its settings")
        data = self.content["dataset"]
        note = (
            f"{self.content['method']} on {data['name']}. Images are ranked by the mIoU over their own classes, all "
            f"{data['classes']} classes offered; shown are the best, the middle and the worst."
        )
        return examples_picture(self.gallery.examples, note)

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/results.json, and FOLDER/index.html and FOLDER/examples.png where a report was asked for.

        Returns the path of results.json.
        """
        path = Path(folder) / "results.json"
        write_json(path, self.content)
        if self.gallery is not None:
            write_report(path.with_name("index.html"), self.content, self.gallery.sections)
            with atomic_write(path.with_name("examples.png")) as part:
                self.examples().save(part, format="PNG")
        return path


def results_content(
    name: str,
    dataset: SegmentationDataset,
    dataset_name: str,
    scores: Mapping[str, Mapping[str, SplitScores]],
    readouts: Mapping[str, Any],
    settings: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """What results.json holds.

    Args:
        name: of the evaluated method, which is in `scores`
        dataset: the first split
        dataset_name: in the catalogue
        scores: by method and split
        readouts: how each method's maps were read out
        settings: of the whole evaluation, as plain values
        seconds: of the whole evaluation
    """
    splits = scores[name]  # of the evaluated method
    first, task = next(iter(splits)), next(iter(splits.values())).task
    scored, spent = sum(s.run for s in splits.values()), sum(s.seconds for s in splits.values())
    return {
        "schema": SCHEMA,
        "method": name,
        "readout": readouts.get(name, {}),
        "metrics": task.figures,
        "splits": {split: s.task.figures for split, s in splits.items()},
        "methods": {
            method: {split: s.task.figures for split, s in by_split.items()} for method, by_split in scores.items()
        },
        "readouts": dict(readouts),
        "per_class": {protocol: task.class_table(protocol) for protocol in task.figures},
        "confusions": task.confusions("full-vocabulary"),
        "intervals": {
            method: {split: s.task.intervals for split, s in by_split.items()} for method, by_split in scores.items()
        },
        "reliability": task.reliability,
        "ranking": best_middle_worst(task.ranked()),
        "images": {split: s.task.images for split, s in splits.items()},
        "dataset": {
            "name": dataset_name,
            "split": first,
            "classes": len(dataset.class_list),
            "images": {split: s.images for split, s in splits.items()},
            "pixels": {split: s.task.ground_truth_pixels() for split, s in splits.items()},
            "fingerprint": dataset.fingerprint(),
        },
        "skipped": [list(pair) for s in splits.values() for pair in s.task.skipped],
        "speed": {"images": scored, "seconds": spent, "images_per_second": scored / max(spent, 1e-9)},
        "seconds": seconds,
        "seed": settings["seed"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "config": dict(settings),
        "expect": [],
    }
