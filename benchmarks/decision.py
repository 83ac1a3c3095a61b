"""Time of a decision in strips relative to the former one: python benchmarks/decision.py [--json FILE]

    segment_12mp/before   from the file of a photograph of 12 megapixels and 20 words to all files of `ca-seg segment`
    eval_3mp/before       an evaluation of images of 2000 x 1500 pixels with 150 classes, both protocols
    eval_128px/before     an evaluation of the shipped scenes

"before" is the way of commit 17d05c6, kept in decision_before.py. The backbone is loaded beforehand. Both take
turns in this process; the ratios are medians over the rounds of processor time of all threads, which depends less on
what else the machine does than wall clock time does. Masks and figures are compared: they must be the same to the last
bit. The peak memory of one segmentation is that of a separate process, imports and backbone included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from decision_before import as_before
from PIL import Image

import ca_seg
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.inputs import open_images
from ca_seg.evaluation.run import score
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings
from ca_seg.jobs.trainer import quiet_lightning
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.resources import resource_path

WORDS = [
    "bus",
    "road",
    "sky",
    "tree",
    "grass",
    "person",
    "car",
    "building",
    "wall",
    "floor",
    "window",
    "door",
    "dog",
    "cat",
    "water",
    "chair",
    "table",
    "boat",
    "bird",
    "horse",
]


CASES = ("segment_12mp", "eval_3mp", "eval_128px")


def photograph(folder: Path) -> Path:
    """A shipped photograph, enlarged to 12 megapixels."""
    file = folder / "photograph.jpg"
    source = Image.open(resource_path("datasets", "photographs", "images", "000000000471.jpg"))
    source.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(file, quality=92)
    return file


def scenes(folder: Path, count: int, size: tuple[int, int] | None, classes: int) -> SegmentationData:
    """The first shipped scenes, enlarged, with `classes` classes; other ground truth is void."""
    source = resource_path("datasets", "scenes")
    for part, resample in (("images", Image.Resampling.BICUBIC), ("masks", Image.Resampling.NEAREST)):
        (folder / part).mkdir(parents=True)
        for index in range(count):
            image = Image.open(source / part / f"scene_{index:04d}.png")
            if part == "masks":
                ids = np.asarray(image)
                image = Image.fromarray(np.where(ids > classes, 0, ids).astype(np.uint8))
            (image if size is None else image.resize(size, resample)).save(folder / part / f"{index}.png")
    names = json.loads((source / "classes.json").read_text(encoding="utf-8"))
    names.pop("kinds", None)
    names["classes"] = dict(list(names["classes"].items())[:classes])
    (folder / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    return SegmentationData("folder", str(folder), batch_size=2)


def compared(run: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Processor seconds of `run`, before and now in turn; their median ratio. What `run` returns must be the same."""
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(rounds):
        results = []
        for name, way in (("before", as_before()), ("now", nullcontext())):
            start = time.process_time()
            with way:
                results.append(run())
            seconds[name].append(time.process_time() - start)
        if results[0] != results[1]:
            raise SystemExit("the results differ from those of before")
    ratios = [now / before for before, now in zip(seconds["before"], seconds["now"], strict=True)]
    return seconds | {"ratio": statistics.median(ratios)}


def segmented(segmenter: Segmenter, file: Path, out: Path) -> tuple[bytes, bytes]:
    """Segment and write all files; the bytes of mask and confidence."""
    [image] = open_images(file)
    result = segmenter(image)
    del image
    result.save(out)
    return result.mask.tobytes(), result.confidence.tobytes()


def figures(data: SegmentationData, predictor: ZeroShotPredictor) -> str:
    """All figures, intervals and reliability of an evaluation."""
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    task = score(trainer, predictor, data, seed=0).task
    return json.dumps([task.figures, task.intervals, task.reliability, task.images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=4, help="number of images of 2000 x 1500 pixels")
    parser.add_argument("--small", type=int, default=150, help="number of images of 128 x 128 pixels")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        segmented(Segmenter(WORDS, SegmentSettings()), args.peak, args.peak.parent / "out")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    quiet_lightning()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = photograph(folder)
        command = [sys.executable, __file__, "--peak", str(file)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = float(output.splitlines()[-1])
        print(f"peak of a segmentation, MB: {peak:.0f}", flush=True)
        segmenter = Segmenter(WORDS, SegmentSettings())
        predictor = ZeroShotPredictor(ca_seg.load_backbone("mini"))
        large = scenes(folder / "large", args.large, (2000, 1500), 150)
        small = scenes(folder / "small", args.small, None, 166)
        cases: dict[str, Callable[[], Any]] = {
            "segment_12mp": lambda: segmented(segmenter, file, folder / "out"),
            "eval_3mp": lambda: figures(large, predictor),
            "eval_128px": lambda: figures(small, predictor),
        }
        runs = {}
        for name in args.cases:
            runs[name] = compared(cases[name], args.rounds)
            print(name, json.dumps(runs[name]), flush=True)
    report = {
        "threads": torch.get_num_threads(),
        "peak_mb": peak,
        "runs": runs,
        "ratios": {f"{name}/before": run["ratio"] for name, run in runs.items()},
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
