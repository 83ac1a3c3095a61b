"""Labelling with repeated kills, and its memory: python benchmarks/label_kills.py [--images 10000] [--json FILE]

whole     all images are labelled in one run; its resident memory (all processes) is plotted over the images done
killed    the same command gets a SIGKILL (all its processes) after about --every further images, and is started
          again until it ends

entries_written/images    manifest entries that all starts together have written / images. It must be 1: more means
                          that images were labelled twice.
files_that_differ/files   files whose content differs between both folders. It must be 0. Manifest lines are
                          compared without their `seconds`.
mib_late/mib_early        resident memory when nine tenths / one tenth of the images were done (null: too few images
                          to measure it)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.visual.plots import lines_plot

ROOT = Path(__file__).parents[1]
SIZES = ((40, 56), (48, 48), (64, 40), (33, 47))  # height, width
WORDS = "classes: [cat, grass, sky, water, house, car]\n"


def images(count: int, folder: Path) -> None:
    """Write `count` images of coloured blocks into `folder`, 1,000 in each subfolder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        subfolder = folder / f"{number // 1000:03d}"
        subfolder.mkdir(parents=True, exist_ok=True)
        height, width = SIZES[number % len(SIZES)]
        blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(subfolder / f"{number:06d}.png")


def start(folder: Path, out: Path, workers: int, log: Path) -> subprocess.Popen:
    """Start `ca-seg label` on the images of `folder`, in a session of processes that can be killed together."""
    command = [
        *(sys.executable, "-m", "ca_seg", "label", "--data.root", str(folder / "images")),
        *("--vocabulary", str(folder / "words.yaml"), "--formats", "[png, coco]", "--out", str(out)),
        *("--model.resolution", "32", "--data.batch_size", "16", "--data.num_workers", str(workers)),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    ]
    with open(log, "ab") as sink:
        return subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink, start_new_session=True)


def written(out: Path, former: bytes = b"") -> tuple[int, bytes]:
    """The number of entries that the running process has written, and the manifest; 0 while that is `former`."""
    try:
        content = (out / ".manifests" / "rank-0.jsonl").read_bytes()
    except FileNotFoundError:
        return 0, b""
    lines = content[: content.rfind(b"\n") + 1]
    return (0 if lines == former else max(0, lines.count(b"\n") - 1)), lines


def resident(session: int) -> float:
    """Memory of all processes of a session, in MiB; pages that processes share count once (PSS)."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, IndexError, StopIteration):
            continue
    return total / 1024


def run_whole(folder: Path, out: Path, workers: int) -> list[tuple[int, float]]:
    """Label all images in one run. Returns the number of images done and the memory in MiB, every second."""
    run, samples = start(folder, out, workers, folder / "whole.log"), []
    while run.poll() is None:
        time.sleep(1)
        count, size = written(out)[0], resident(run.pid)
        if count and size and run.poll() is None:
            samples.append((count, size))
    if run.returncode:
        raise SystemExit((folder / "whole.log").read_text()[-2000:])
    return samples


def run_with_kills(folder: Path, out: Path, workers: int, every: int) -> tuple[int, int]:
    """Label all images with a kill after about `every` images. Returns the numbers of starts and written entries."""
    rng, starts, total, former = random.Random(0), 0, 0, b""
    while True:
        run, target = start(folder, out, workers, folder / "killed.log"), rng.randint(every // 2, every * 3 // 2)
        starts += 1
        while run.poll() is None and written(out, former)[0] < target:
            time.sleep(0.02)
        status = run.poll()
        if status is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        count, former = written(out, former)
        total += count
        print(f"start {starts}: {total} written so far", flush=True)
        if status == 0:
            return starts, total
        if status not in (None, -signal.SIGKILL):
            raise SystemExit((folder / "killed.log").read_text()[-2000:])


def file_hashes(out: Path) -> dict[str, str]:
    """The hash of each file by its path; the manifest without `seconds`."""
    hashes = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name.startswith(".manifests/") or name in ("run.json", "summary.json", ".lock"):
            continue
        content = path.read_bytes()
        if name == "manifest.jsonl":
            lines = [json.loads(line) for line in content.splitlines()]
            content = json.dumps([{k: v for k, v in line.items() if k != "seconds"} for line in lines]).encode()
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes


def plot(samples: list[tuple[int, float]], file: Path) -> None:
    """Memory over images done."""
    points = {"all processes": [(float(count), size) for count, size in samples]}
    lines_plot("Resident memory of ca-seg label", "images done", "MiB", points).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=300, help="images between kills")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("out/label_kills"), help="a new folder for both runs")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    args = parser.parse_args()
    folder: Path = args.folder
    folder.mkdir(parents=True)
    images(args.images, folder / "images")
    (folder / "words.yaml").write_text(WORDS)
    begin = time.monotonic()
    samples = run_whole(folder, folder / "whole", args.workers)
    seconds = time.monotonic() - begin
    plot(samples, folder / "memory.png")
    print(f"whole run: {args.images} images in {seconds:.0f} s", flush=True)
    starts, total = run_with_kills(folder, folder / "killed", args.workers, args.every)
    first, second = file_hashes(folder / "whole"), file_hashes(folder / "killed")
    differ = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]

    def around(fraction: float) -> int | None:
        """MiB when about this fraction of the images was done."""
        sizes = [size for count, size in samples if abs(count / args.images - fraction) <= 0.05]
        return round(float(np.median(sizes))) if sizes else None

    early, late = around(0.1), around(0.9)
    report = {
        "images": args.images,
        "kills": starts - 1,
        "entries_written": total,
        "files": len(first),
        "files_that_differ": len(differ),
        "seconds_whole": round(seconds, 1),
        "mib_at_a_tenth": early,
        "mib_at_nine_tenths": late,
        "ratios": {
            "entries_written/images": total / args.images,
            "files_that_differ/files": len(differ) / len(first),
            "mib_late/mib_early": late / early if late and early else None,
        },
    }
    for file in filter(None, (folder / "report.json", args.json)):
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    if differ or total != args.images:
        raise SystemExit(f"not the same: {sorted(differ)[:10]}")


if __name__ == "__main__":
    main()
