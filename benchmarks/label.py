"""Speed of labelling relative to the backbone alone: python benchmarks/label.py [--json FILE]

    bare     record + ask + maps on batches that are already in memory
    label    the same images from files to masks, confidence maps and a manifest on disk, as `ca-seg label` does

    label/bare     images per second of `label` / of `bare`
    main_thread    the same with the processor time of the main thread in place of wall clock time. It is the more
                   reliable one on a machine with other load.

Both run in this process, in turn, on the shipped scenes (or on scenes enlarged to --side pixels). The time of `label`
starts with its first batch, when the workers have started, and ends with the last file. Set OMP_NUM_THREADS=1 on a
small machine, so that reading and writing do not compete with the backbone for a core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from in_turn import in_turn
from PIL import Image

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


class FirstBatchTimer(pl.Callback):
    """Notes wall clock time and processor time when the first batch starts."""

    start = thread_start = 0.0

    def on_predict_batch_start(self, *_: object) -> None:
        if not self.start:
            self.start, self.thread_start = time.perf_counter(), time.thread_time()


def images(count: int, side: int, folder: Path) -> Path:
    """Write `count` scenes of `side` x `side` pixels (0: in the size of the scenes) as JPEG into `folder`."""
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
    label_seconds: list[float] = []
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
            out = folder / f"out{len(label_seconds)}"
            writer = BackgroundWriter(LabelFiles(out, words.classes, {"png": FORMATS["png"]}))
            writer.open(out / "manifest.jsonl", "0" * 32)
            task = PseudoLabel(ZeroShotPredictor(backbone), words, writer.save)
            timer = FirstBatchTimer()
            trainer = pl.Trainer(
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[timer],
            )
            data = UnlabelledData(lambda: unlabelled, batch_size=8, num_workers=args.workers)
            trainer.predict(task, datamodule=data, return_predictions=False)
            writer.close()
            if writer.written != args.images:
                raise SystemExit(f"{writer.written} of {args.images} images were labelled")
            main_thread["label"].append(time.thread_time() - timer.thread_start)
            label_seconds.append(time.perf_counter() - timer.start)

        times = in_turn(args.rounds, {"bare": bare, "label": label})
    labels = label_seconds[-args.rounds :]
    ratios = [a / b for a, b in zip(times["bare"], labels, strict=True)]
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
