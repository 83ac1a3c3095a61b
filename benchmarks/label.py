"""What labelling costs beside the backbone: python benchmarks/label.py [--json FILE]

    bare     record + ask + maps on batches that are in memory already
    label    the same images from their files to masks, confidence and manifest on the disk, as `ca-seg label` does

Both run in this process, in turn, on the shipped scenes (or on scenes enlarged to --side pixels). The time of `label`
starts with its first batch, when the workers have started, and ends with the last file. Set OMP_NUM_THREADS=1 on a
small machine: reading and writing then have a core beside the backbone's.

On a machine with other load, `main_thread` is the better figure: the ratio of the processor times of the main thread,
and so the ratio of speeds where that thread has a core of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytorch_lightning as pl
import torch
from PIL import Image

from benchmarks.in_turn import in_turn
from ca_seg.backbones.images import WorkingSize
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.jobs.trainer import quiet_lightning
from ca_seg.labelling.background_writer import BackgroundWriter
from ca_seg.labelling.data import UnlabelledData, UnlabelledImages
from ca_seg.labelling.label_files import LabelFiles
from ca_seg.labelling.registry import FORMATS
from ca_seg.labelling.task import PseudoLabel
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.resources import resource_path
from ca_seg.vocabulary import Vocabulary


class FromFirstBatch(pl.Callback):
    start = thread_start = 0.0

    def on_predict_batch_start(self, *_: object) -> None:
        if not self.start:
            self.start, self.thread_start = time.perf_counter(), time.thread_time()


def images(count: int, side: int, folder: Path) -> Path:
    """Scenes under new names, as JPEG; 0 pixels: in their own size."""
    files = sorted(resource_path("datasets", "scenes", "images").iterdir())
    folder.mkdir()
    for number in range(count):
        scene = Image.open(files[number % len(files)]).convert("RGB")
        (scene if side == 0 else scene.resize((side, side))).save(folder / f"{number:05d}.jpg", quality=92)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    quiet_lightning()
    backbone, readout = load_backbone("mini", resolution=args.resolution), ReadoutConfig()
    words = Vocabulary.from_names(open_dataset("scenes").class_list.names[: args.classes])
    working = WorkingSize(backbone.card.resolution, backbone.card.multiple)
    spent: list[float] = []
    main_thread: dict[str, list[float]] = {"bare": [], "label": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = open_dataset("images", str(images(args.images, args.side, folder / "in")))
        unlabelled = UnlabelledImages(dataset, working, labelled={})
        plan = unlabelled.plan(8)
        batches = [(batch["image"], batch["key"]) for batch in map(unlabelled.__getitem__, plan)]

        def bare() -> None:
            begin = time.thread_time()
            with torch.inference_mode():
                for images, keys in batches:
                    readout.record(backbone, images, [image_seed(0, key) for key in keys]).maps(words)
            main_thread["bare"].append(time.thread_time() - begin)

        def label() -> None:
            out = folder / f"out{len(spent)}"
            writer = BackgroundWriter(LabelFiles(out, words.classes, {"png": FORMATS["png"]}))
            writer.open(out / "manifest.jsonl", "0" * 32)
            task = PseudoLabel(ZeroShotPredictor(backbone), words, writer.save)
            first = FromFirstBatch()
            trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[first],
                                 enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
            data = UnlabelledData(lambda: unlabelled, batch_size=8, num_workers=args.workers)
            trainer.predict(task, datamodule=data, return_predictions=False)
            writer.close()
            assert writer.written == args.images
            main_thread["label"].append(time.thread_time() - first.thread_start)
            spent.append(time.perf_counter() - first.start)

        times = in_turn(args.rounds, {"bare": bare, "label": label})
    labels = spent[-args.rounds :]
    ratios = [one / two for one, two in zip(times["bare"], labels, strict=True)]
    thread_ratios = [a / b for a, b in zip(main_thread["bare"][1:], main_thread["label"][1:], strict=True)]
    report = {
        "images": args.images,
        "classes": args.classes,
        "side": args.side or 128,
        "threads": torch.get_num_threads(),
        "bare_per_second": round(args.images / statistics.median(times["bare"]), 2),
        "label_per_second": round(args.images / statistics.median(labels), 2),
        "ratios": {
            "label/bare": round(statistics.median(ratios), 3),
            "main_thread": round(statistics.median(thread_ratios), 3),
        },
        "each_round": [round(ratio, 3) for ratio in ratios],
    }
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
