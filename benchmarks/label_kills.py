"""Is anything lost when labelling is killed, and does memory grow? python benchmarks/label_kills.py [--images 10000]

    whole     all images are labelled in one run; its resident memory (all processes) is plotted over the images done
    killed    the same, with a SIGKILL to all its processes after about --every further images, and started again until
              it ends

Counted: images in the manifest, entries written over all starts (one each, or something was done twice), and whether
every file and every manifest line but its `seconds` is the same in both folders.
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

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
SIZES = ((40, 56), (48, 48), (64, 40), (33, 47))  # height, width
WORDS = "classes: [cat, grass, sky, water, house, car]\n"


def images(count: int, folder: Path) -> None:
    """Blocks of colour, 1,000 images a folder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        subfolder = folder / f"{number // 1000:03d}"
        subfolder.mkdir(parents=True, exist_ok=True)
        height, width = SIZES[number % len(SIZES)]
        blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(subfolder / f"{number:06d}.png")


def start(folder: Path, out: Path, workers: int, log: Path) -> subprocess.Popen:
    command = [
        *(sys.executable, "-m", "ca_seg", "label", "--data.root", str(folder / "images")),
        *("--vocabulary", str(folder / "words.yaml"), "--formats", "[png, coco]", "--out", str(out)),
        *("--model.resolution", "32", "--data.batch_size", "16", "--data.num_workers", str(workers)),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    ]
    with open(log, "ab") as sink:
        return subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink, start_new_session=True)


def written(out: Path, former: bytes = b"") -> tuple[int, bytes]:
    """How many entries the running process has written, and its manifest; 0 while that is still the `former` one."""
    try:
        content = (out / ".manifests" / "rank-0.jsonl").read_bytes()
    except FileNotFoundError:
        return 0, b""
    whole = content[: content.rfind(b"\n") + 1]
    return (0 if whole == former else max(0, whole.count(b"\n") - 1)), whole


def resident(session: int) -> float:
    """MiB of all processes of a session; what several share counts once (PSS)."""
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


def whole(folder: Path, out: Path, workers: int) -> list[tuple[int, float]]:
    """One run to its end; images done and MiB, every second."""
    run, seen = start(folder, out, workers, folder / "whole.log"), []
    while run.poll() is None:
        time.sleep(1)
        count, size = written(out)[0], resident(run.pid)
        if count and size and run.poll() is None:
            seen.append((count, size))
    if run.returncode:
        raise SystemExit((folder / "whole.log").read_text()[-2000:])
    return seen


def killed(folder: Path, out: Path, workers: int, every: int) -> tuple[int, int]:
    """Starts, and entries written over all of them."""
    rng, starts, total, former = random.Random(0), 0, 0, b""
    while True:
        run, target = start(folder, out, workers, folder / "killed.log"), rng.randint(every // 2, every * 3 // 2)
        starts += 1
        while run.poll() is None and written(out, former)[0] < target:
            time.sleep(0.02)
        ended = run.poll()
        if ended is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        count, former = written(out, former)
        total += count
        print(f"start {starts}: {total} written so far", flush=True)
        if ended == 0:
            return starts, total
        if ended not in (None, -signal.SIGKILL):
            raise SystemExit((folder / "killed.log").read_text()[-2000:])


def tree(out: Path) -> dict[str, str]:
    """Files by name to their hashes; the manifest without seconds."""
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


def plot(seen: list[tuple[int, float]], file: Path) -> None:
    from ca_seg.visual.plots import lines_plot

    points = {"all processes": [(float(count), size) for count, size in seen]}
    lines_plot("Resident memory of ca-seg label", "images done", "MiB", points).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=300, help="images between kills")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("out/label_kills"))
    args = parser.parse_args()
    folder: Path = args.folder
    folder.mkdir(parents=True)
    images(args.images, folder / "images")
    (folder / "words.yaml").write_text(WORDS)
    begin = time.monotonic()
    seen = whole(folder, folder / "whole", args.workers)
    spent = time.monotonic() - begin
    plot(seen, folder / "memory.png")
    print(f"whole run: {args.images} images in {spent:.0f} s", flush=True)
    starts, total = killed(folder, folder / "killed", args.workers, args.every)
    first, second = tree(folder / "whole"), tree(folder / "killed")
    differ = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]

    def around(fraction: float) -> int | None:
        """MiB when about this fraction of the images was done; workers end before the last are written."""
        near = [size for count, size in seen if abs(count / args.images - fraction) <= 0.05]
        return round(float(np.median(near))) if near else None

    report = {
        "images": args.images,
        "kills": starts - 1,
        "entries_written": total,
        "files": len(first),
        "files_that_differ": len(differ),
        "seconds_whole": round(spent, 1),
        "mib_at_a_tenth": around(0.1),
        "mib_at_nine_tenths": around(0.9),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    if differ or total != args.images:
        raise SystemExit(f"not the same: {sorted(differ)[:10]}")


if __name__ == "__main__":
    main()
