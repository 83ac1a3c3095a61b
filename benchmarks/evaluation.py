"""What an evaluation costs beside the backbone, and whether memory grows: python benchmarks/evaluation.py [--json FILE]

    share     seconds of reading, deciding, counting and writing / seconds in the backbone (the shipped one, a very
              small model: with a larger one the share is smaller by as much)
    memory    peak of a run on 2,000 images / peak on 200;     time    seconds per image, the same

Images are the shipped scenes under new names. Each size is one process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
ROOT = Path(__file__).parents[1]


def folder_of(count: int, place: Path) -> Path:
    """A dataset folder of `count` images, hard links to the shipped scenes."""
    scenes = ROOT / "datasets" / "scenes"
    for part in ("images", "masks"):
        (place / part).mkdir(parents=True)
    files = sorted((scenes / "images").iterdir())
    for number in range(count):
        image = files[number % len(files)]
        for part, file in (("images", image), ("masks", scenes / "masks" / f"{image.stem}.png")):
            target = place / part / f"{number:06d}{file.suffix}"
            target.write_bytes(file.read_bytes())
    (place / "classes.json").write_text((scenes / "classes.json").read_text(encoding="utf-8"), encoding="utf-8")
    return place


def run(folder: Path) -> dict[str, float]:
    """In this process: one evaluation, with the time inside the backbone apart."""
    import pytorch_lightning as pl

    from ca_seg.backbones.load import load_backbone
    from ca_seg.backbones.readout import ReadoutConfig
    from ca_seg.data.datamodule import SegmentationData
    from ca_seg.evaluation.run import score

    backbone, readout, spent = load_backbone("mini"), ReadoutConfig(), [0.0]

    class Timed:
        def __init__(self, inner):
            self.inner = inner

        def select(self, image):
            return Timed(self.inner.select(image))

        def maps(self, vocabulary):
            start = time.perf_counter()
            found = self.inner.maps(vocabulary)
            spent[0] += time.perf_counter() - start
            return found

    def record(images, seeds):
        start = time.perf_counter()
        made = Timed(readout.record(backbone, images, seeds))
        spent[0] += time.perf_counter() - start
        return made

    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = SegmentationData("folder", str(folder), batch_size=8)
    start = time.perf_counter()
    cell = score(trainer, record, data, seed=0)
    total = time.perf_counter() - start
    return {
        "images": cell.task.scored,
        "seconds": total,
        "backbone": spent[0],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "miou": cell.task.figures["full-vocabulary"]["miou"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sizes", type=int, nargs=2, default=[200, 2000])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        print(json.dumps(run(args.folder)))
        return
    found = []
    with tempfile.TemporaryDirectory() as place:
        for size in args.sizes:
            folder = folder_of(size, Path(place) / str(size))
            command = [sys.executable, __file__, "--folder", str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print({k: round(v, 3) for k, v in found[-1].items()}, flush=True)
    few, many = found
    each = [f["seconds"] / f["images"] for f in found]
    ratios = {
        "beside_backbone/backbone": (many["seconds"] - many["backbone"]) / many["backbone"],
        "peak_many/peak_few": many["peak_mb"] / few["peak_mb"],
        "seconds_per_image_many/few": each[1] / each[0],
    }
    for name, value in ratios.items():
        print(f"{name:32} {value:.3f}")
    if args.json:
        args.json.write_text(json.dumps({"runs": found, "ratios": ratios}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
