"""Time and memory of an evaluation, apart from the backbone: python benchmarks/evaluation.py [--json FILE]

    beside_backbone               seconds of reading, argmax, counting and writing / seconds in the backbone (the
                                  shipped one, which is very small: with a larger one this ratio is smaller)
    main_thread                   the same with the processor time of the thread that runs the backbone, in place of
                                  wall clock time. It is the more reliable one on a machine with other load
    in_turn                       processor time of the process / of the backbone, less 1: what main_thread would be
                                  if nothing ran beside the backbone
    peak_many/peak_few            peak memory of a run on 2,000 images / on 200 images
    seconds_per_image_many/few    seconds per image of a run on 2,000 images / on 200 images

The images are the shipped scenes under new names. Each size runs in a separate process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ca_seg.resources import resource_path


def folder_of(count: int, folder: Path) -> Path:
    """Write a dataset folder of `count` images, copies of the shipped scenes, into `folder`."""
    scenes = resource_path("datasets", "scenes")
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    files = sorted((scenes / "images").iterdir())
    for number in range(count):
        image = files[number % len(files)]
        for part, file in (("images", image), ("masks", scenes / "masks" / f"{image.stem}.png")):
            target = folder / part / f"{number:06d}{file.suffix}"
            target.write_bytes(file.read_bytes())
    (folder / "classes.json").write_text((scenes / "classes.json").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def run(folder: Path) -> dict[str, float]:
    """Evaluate the dataset `folder` in this process; the time inside the backbone is counted separately."""
    import pytorch_lightning as pl

    from ca_seg.backbones.load import load_backbone
    from ca_seg.data.datamodule import SegmentationData
    from ca_seg.evaluation.run import score
    from ca_seg.predictors.zero_shot import ZeroShotPredictor

    backbone_seconds = [0.0, 0.0]  # wall clock, processor time of this thread

    def timed(run):
        start, thread_start = time.perf_counter(), time.thread_time()
        result = run()
        backbone_seconds[0] += time.perf_counter() - start
        backbone_seconds[1] += time.thread_time() - thread_start
        return result

    class TimedPrediction:
        def __init__(self, prediction):
            self.prediction = prediction

        def select(self, image):
            return TimedPrediction(self.prediction.select(image))

        def maps(self, vocabulary):
            return timed(lambda: self.prediction.maps(vocabulary))

        def maps_of_images(self, vocabularies):
            return timed(lambda: self.prediction.maps_of_images(vocabularies))

    class TimedPredictor(ZeroShotPredictor):
        def predict(self, images, seeds, ground_truth=None):
            return TimedPrediction(timed(lambda: ZeroShotPredictor.predict(self, images, seeds)))

    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = SegmentationData("folder", str(folder), batch_size=8)
    predictor = TimedPredictor(load_backbone("mini"))
    start, thread_start, process_start = time.perf_counter(), time.thread_time(), time.process_time()
    scores = score(trainer, predictor, data, seed=0)
    total, thread_total = time.perf_counter() - start, time.thread_time() - thread_start
    process_total = time.process_time() - process_start
    return {
        "images": scores.task.scored,
        "seconds": total,
        "backbone": backbone_seconds[0],
        "thread_seconds": thread_total,
        "thread_backbone": backbone_seconds[1],
        "process_seconds": process_total,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "miou": scores.task.figures["full-vocabulary"]["miou"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--sizes", type=int, nargs=2, default=[200, 2000], help="numbers of images of the two runs")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        print(json.dumps(run(args.folder)))
        return
    runs = []
    with tempfile.TemporaryDirectory() as parent:
        for size in args.sizes:
            folder = folder_of(size, Path(parent) / str(size))
            command = [sys.executable, __file__, "--folder", str(folder)]
            process = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(process.stdout.splitlines()[-1]))
            print({k: round(v, 3) for k, v in runs[-1].items()}, flush=True)
    few, many = runs
    per_image = [run["seconds"] / run["images"] for run in runs]
    ratios = {
        "beside_backbone": (many["seconds"] - many["backbone"]) / many["backbone"],
        "main_thread": (many["thread_seconds"] - many["thread_backbone"]) / many["thread_backbone"],
        "in_turn": (many["process_seconds"] - many["thread_backbone"]) / many["thread_backbone"],
        "peak_many/peak_few": many["peak_mb"] / few["peak_mb"],
        "seconds_per_image_many/few": per_image[1] / per_image[0],
    }
    for name, value in ratios.items():
        print(f"{name:32} {value:.3f}")
    if args.json:
        args.json.write_text(json.dumps({"runs": runs, "ratios": ratios}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
