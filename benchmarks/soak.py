"""Everything at once, for long: python benchmarks/soak.py --pictures 1000 --json FILE

Pictures of which one in twenty is odd (`odd_pictures.py`) are labelled, evaluated and trained on by the real commands:

whole       labelled in one run: its memory and open files are sampled
killed      the same command, killed (SIGKILL to all its processes) at random moments and started again until it ends
full disk   a part of them onto a file system of 300 kB, which is then made larger; the command is started again. (In
            a namespace of its own, by `unshare`; where that is not permitted this is left out and said.)
slow disk   a part of them, each read and each sync delayed by 50 ms (in the process: the disk itself is as it is)
eval        evaluated on their own labels, after one in twenty pictures was cut in half
train       a linear head on the labels, killed after its first epoch and resumed

counts.labelled, skipped     of the killed run
counts.lost                  pictures without a label and without a report, and label files that are missing; all runs
counts.doubled               pictures labelled twice, twice in a manifest, or both labelled and skipped, in all runs
counts.wrong                 pictures that came out otherwise than they must, files that differ from the whole run's,
                             and commands that ended otherwise than they must
counts.tracebacks            in what all commands printed
memory_slope_mib_per_1000    of the whole run, by least squares over its later nine tenths (null: too few samples)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from label_kills import ROOT, WORDS, file_hashes, resident, written
from odd_pictures import EVERY, write_pictures

STAGES = ("whole", "killed", "full_disk", "slow_disk", "evaluate", "train")
PART = 20  # one of so many pictures is labelled on a full and on a slow disk, but 30 at least
SLOW = """import os, time
from ca_seg.data.dataset import SegmentationDataset
def slow(function):
    def call(*arguments):
        time.sleep(0.05)
        return function(*arguments)
    return call
os.fsync = slow(os.fsync)
SegmentationDataset.image_bytes = slow(SegmentationDataset.image_bytes)
from ca_seg.cli.main import main
raise SystemExit(main())
"""
FULL = """set -u; mkdir -p "$OUT"; mount -t tmpfs -o size=300k tmpfs "$OUT" || exit 99
"$@"; echo $? > "$OUT.first"; mount -o remount,size=1g "$OUT"; "$@"; echo $? > "$OUT.second"; cp -a "$OUT" "$OUT.kept"
"""
Samples = list[tuple[int, float, int]]  # pictures done, MiB, open files of the main process


class Soak:
    """The commands, and what they did."""

    def __init__(self, folder: Path, pictures: int, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.counts: Counter[str] = Counter(labelled=0, skipped=0, lost=0, doubled=0, wrong=0, tracebacks=0)
        self.notes: dict[str, object] = {}
        self.expected = write_pictures(pictures, folder / "images")
        (folder / "words.yaml").write_text(WORDS)

    def start(self, name: str, *arguments: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None):
        """A command in a session of its own; what it prints is in NAME.log."""
        with open(self.folder / f"{name}.log", "ab") as log:
            command = [*before, *([] if SLOW in before else [sys.executable, "-m", "ca_seg"]), *arguments]
            return subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **(env or {})}
            )

    def label(self, images: str, out: str, workers: int = 0) -> tuple[str, ...]:
        return (
            *("label", "--data.root", str(self.folder / images), "--vocabulary", str(self.folder / "words.yaml")),
            *("--model.backbone", "mini", "--model.resolution", "32", "--formats", "[png, coco]"),
            *("--data.batch_size", "16", "--data.num_workers", str(workers), "--out", str(self.folder / out)),
            *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        )

    def finished(self, name: str, run: subprocess.Popen, allowed: tuple[int, ...]) -> int:
        """Wait for a command; its exit status must be one of `allowed`."""
        status = run.wait()
        if status not in allowed:
            self.counts["wrong"] += 1
            self.notes[f"{name} ended with"] = status
        return status

    def whole(self) -> Samples:
        run, samples = self.start("whole", *self.label("images", "whole")), []
        while run.poll() is None:
            time.sleep(0.5)
            count = written(self.folder / "whole")[0]
            try:
                files = len(os.listdir(f"/proc/{run.pid}/fd"))
            except OSError:
                break
            if count and (size := resident(run.pid)):
                samples.append((count, size, files))
        self.finished("whole", run, (0, 1))
        self.check("whole", self.expected)
        return samples

    def killed(self, every: int) -> None:
        """Starts, each killed after about `every` further pictures, until one ends."""
        out, entries, former, kills = self.folder / "killed", 0, b"", 0
        while True:
            run = self.start("killed", *self.label("images", "killed", 1))
            target = self.rng.randint(1, 2 * every)
            while run.poll() is None and written(out, former)[0] < target:
                time.sleep(0.02)
            time.sleep(self.rng.random() / 5)
            ended = run.poll() is not None
            if not ended:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                kills += 1
            count, former = written(out, former)
            entries += count
            if ended:
                self.finished("killed", run, (0, 1))
                break
        labelled, skipped = self.check("killed", self.expected)
        self.counts.update(labelled=labelled, skipped=skipped, doubled=max(0, entries - labelled))
        first, second = file_hashes(self.folder / "whole"), file_hashes(out)
        differ = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        self.counts["wrong"] += len(differ)
        self.notes |= {"kills": kills, "files compared": len(first), "files that differ": differ[:5]}

    def part(self, name: str) -> dict[str, str]:
        """A folder with the first pictures, and what must become of them."""
        chosen = list(self.expected)[: max(30, len(self.expected) // PART)]
        for picture in chosen:
            target = self.folder / name / picture
            target.parent.mkdir(parents=True, exist_ok=True)
            source = self.folder / "images" / picture
            if self.expected[picture] == "ignored":
                target.mkdir()
            elif source.is_symlink() and not source.exists():
                target.symlink_to("nothing.png")
            else:
                shutil.copyfile(source, target)
        return {picture: self.expected[picture] for picture in chosen}

    def full_disk(self) -> None:
        expected, out = self.part("few"), self.folder / "full"
        before = ("unshare", "-rm", "sh", "-c", FULL, "sh")
        status = 99
        if shutil.which("unshare"):
            status = self.start("full", *self.label("few", "full"), before=before, env={"OUT": str(out)}).wait()
        if status:
            self.notes["full disk"] = f"left out: no file system can be mounted here (unshare gave {status})"
            return
        first, second = (int((self.folder / f"full.{part}").read_text()) for part in ("first", "second"))
        (self.folder / "full").rmdir()
        (self.folder / "full.kept").rename(out)
        if first != 2 or second not in (0, 1):
            self.counts["wrong"] += 1
        self.notes["full disk"] = f"exit status {first}, then with room {second}"
        self.check("full", expected)

    def slow_disk(self) -> None:
        expected, begin = self.part("slowly"), time.monotonic()
        run = self.start("slow", *self.label("slowly", "slow"), before=(sys.executable, "-c", SLOW))
        self.finished("slow", run, (0, 1))
        self.notes["slow disk"] = f"{len(expected)} pictures in {time.monotonic() - begin:.0f} s"
        self.check("slow", expected)

    def check(self, name: str, expected: dict[str, str]) -> tuple[int, int]:
        """Compare a run with what must become of its pictures. Returns the numbers of labels and of reports."""
        out = self.folder / name
        if not (out / "manifest.jsonl").is_file():
            self.counts["lost"] += len(expected)
            return 0, 0
        lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()[1:]]
        reports = json.loads((out / "summary.json").read_text())["skipped"]
        labelled = Counter(line["image"] for line in lines)
        skipped = Counter(
            next((p for p in expected if entry["image"].endswith(p)), entry["image"]) for entry in reports
        )
        outcome = {picture: "labelled" for picture in labelled} | {picture: "skipped" for picture in skipped}
        files = [file for line in lines for file in line["outputs"] if not (out / file).is_file()]
        lost = [p for p, must in expected.items() if must != "ignored" and p not in outcome]
        wrong = [f"{p}: {outcome[p]}" for p in outcome if p not in expected or outcome[p] != expected[p]]
        twice = [p for p, n in (labelled + skipped).items() if n > 1]
        self.counts.update(lost=len(lost) + len(files), doubled=len(twice), wrong=len(wrong))
        problems = [*lost, *files, *wrong, *twice]
        if problems:
            self.notes[f"problems of {name}"] = problems[:5]
        return len(lines), len(reports)

    def evaluate(self) -> None:
        """After one in twenty of the labelled pictures was cut in half."""
        lines = (self.folder / "killed" / "manifest.jsonl").read_text().splitlines()[1:]
        names = [json.loads(line)["image"] for line in lines]
        whole = [name for name in names if "animated" not in name]  # half of it still has its first frame
        cut = [name for name in whole[::EVERY] if not (self.folder / "images" / name).is_symlink()][1:]
        for name in cut:
            path = self.folder / "images" / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        run = self.start("eval", *self.on_labels("eval"), "--model.resolution", "32", "--report", "false")
        self.finished("eval", run, (0, 1))
        file = self.folder / "eval" / "results.json"
        results = json.loads(file.read_text()) if file.is_file() else {"images": {}, "skipped": []}
        scored = {name for split in results["images"].values() for name in split["full-vocabulary"]}
        self.notes["evaluated"], self.notes["evaluation skipped"] = len(scored), len(results["skipped"])
        self.counts["lost"] += max(0, len(names) - len(scored) - len(results["skipped"]))
        self.counts["doubled"] += max(0, len(scored) + len(results["skipped"]) - len(names))
        self.counts["wrong"] += abs(len(results["skipped"]) - len(cut))

    def train(self) -> None:
        """Two epochs, killed after the first and resumed."""
        options = (
            *("--data.train_split", "weighted", "--data.val_name", "labelled", "--data.val_root"),
            *(str(self.folder / "killed"), "--model.resolution", "32", "--model.loss_at", "tokens"),
            *("--data.augment", "none", "--trainer.max_epochs", "2", "--checkpoint.tensorboard", "false"),
        )
        run = self.start("train", *self.on_labels("train"), *options)
        while run.poll() is None and not (self.folder / "train" / "last.ckpt").exists():
            time.sleep(0.1)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            self.notes["training"] = "killed after an epoch and resumed"
            run = self.start("train", *self.on_labels("train"), *options, "--resume", "true")
        self.finished("train", run, (0, 1))
        if not (self.folder / "train" / "head" / "model.safetensors").is_file():
            self.counts["lost"] += 1

    def on_labels(self, command: str) -> tuple[str, ...]:
        return (
            *(command, "--data.name", "labelled", "--data.root", str(self.folder / "killed")),
            *("--model.backbone", "mini", "--data.batch_size", "16", "--out", str(self.folder / command)),
            *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        )

    def report(self, samples: Samples) -> dict[str, object]:
        """The counts so far, and the memory and open files of the whole run."""
        logs = (log.read_text(errors="replace") for log in self.folder.glob("*.log"))
        self.counts["tracebacks"] = sum(text.count("Traceback (most recent call last)") for text in logs)
        return {
            "pictures": len(self.expected),
            "must_be": dict(Counter(self.expected.values())),
            "counts": dict(self.counts),
            "memory_slope_mib_per_1000": slope(samples, 1),
            "memory_mib_max": round(max((sample[1] for sample in samples), default=0)),
            "open_files_slope_per_1000": slope(samples, 2),
            "open_files_max": max((sample[2] for sample in samples), default=0),
        }


def slope(samples: Samples, column: int) -> float | None:
    """Growth per 1,000 pictures, over the later nine tenths of the run."""
    later = [sample for sample in samples if sample[0] >= samples[-1][0] / 10] if samples else []
    counts = [sample[0] for sample in later]
    if len(set(counts)) < 5:
        return None
    return round(float(np.polyfit(counts, [sample[column] for sample in later], 1)[0]) * 1000, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--every", type=int, help="pictures between kills (default: a sixth)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("out/soak"), help="a new folder for everything")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="evaluate and train need killed")
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    soak, begin = Soak(args.folder.resolve(), args.pictures, args.seed), time.monotonic()
    samples: Samples = []
    for stage in args.stages:
        if stage == "whole":
            samples = soak.whole()
        elif stage == "killed":
            soak.killed(args.every or max(2, args.pictures // 6))
        else:
            getattr(soak, stage)()
        report = soak.report(samples) | {"seconds": round(time.monotonic() - begin), "notes": soak.notes}
        for file in filter(None, (args.folder / "report.json", args.json)):  # after every stage: it may be stopped
            file.write_text(json.dumps({"last_stage": stage} | report, indent=1) + "\n", encoding="utf-8")
        print(f"{stage}: {report['seconds']} s, {report['counts']}", flush=True)
    print(json.dumps(report, indent=1))
    if any(soak.counts[name] for name in ("lost", "doubled", "wrong", "tracebacks")):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
