"""Time and memory on one GPU of 80 GB, beside the arithmetic: python -m benchmarks.gpu [--json FILE]

The architectures of the cards, at their own resolutions, with random weights: nothing is downloaded. One table and one
JSON file, within --minutes. Each section (a backbone in a precision) runs in a process of its own with a share of the
time. A row that would run over is skipped, one that runs out of memory is reported, and the next ones run. The file is
written after each row, so an interrupted benchmark keeps what it measured.

    measured    seconds (median), images a second, largest memory of the GPU
    computed    TFLOP and GB of the row, from the shapes (`ca-seg zoo plan NAME --cost`)
    both        TFLOP a second, and the share of the GPU's published peak that this is

A row that was not measured has its arithmetic only, and the reason. At the end: GPU-hours for a million images, as the
peaks bound them (computed), and as the labelling rows would take (measured; on several nodes each GPU labels other
images, which is assumed to be as fast).

`--device cpu --small` runs every row on the tiny models of the tests, in this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_labels import seconds_per_image
from benchmarks.gpu_rows import (
    COMPUTED,
    FAILED,
    MEASURED,
    NO_MEMORY,
    Repetitions,
    Result,
    carried_rows,
    map_rows,
    measure,
)
from benchmarks.random_backbone import real_backbone, real_cost, tiny_backbone, tiny_cost
from ca_seg.atomic import atomic_write
from ca_seg.backbones.cost.cost import MapCost
from ca_seg.backbones.cost.gpus import GPUS, Gpu, gpu_of_driver
from ca_seg.backbones.load import check_device
from ca_seg.errors import UserError
from ca_seg.versions import versions

ROOT = Path(__file__).parents[1]
WORDS, MILLION, HOUR = 21, 1_000_000, 3600
LINE = "RESULT "  # before each result that a section's process prints
GRACE = 20  # seconds after its deadline in which a section may end by itself
LABEL_BATCH = 8


@dataclass(frozen=True)
class Section:
    """One backbone in one precision, and its share of the time."""

    card: str
    variant: str  # a key of PRECISIONS, or label
    share: float
    stock: bool = False
    asks: bool = True  # further asks of a recording
    batches: tuple[int, ...] = (1, 4)

    @property
    def name(self) -> str:
        return f"{self.card} {self.variant}"


SECTIONS = (
    Section("flux1-dev", "bf16", 90, stock=True, batches=(1, 2, 4, 8, 16)),
    Section("sd3.5-large", "bf16", 45, stock=True, batches=(1, 4)),
    Section("flux2-klein-4b", "bf16", 30, stock=True, batches=(1, 4, 16)),
    Section("qwen-image", "bf16", 60, stock=True, batches=(1, 4)),
    Section("cogvideox-5b", "bf16", 40, stock=True, batches=(1, 4)),
    Section("flux1-dev", "compile", 60, asks=False),
    Section("flux1-dev", "fp8", 35),
    Section("flux1-dev", "nf4", 35),
    Section("flux1-dev", "offload", 35),
    Section("flux1-dev", "label", 50),
)
COMPILED = Repetitions(warmups=10)  # torch gives up compiling a function anew after 8 times
Emit = Callable[[Result], None]


def run_section(section: Section, device: str, small: bool, deadline: float, emit: Emit) -> None:
    """Emit the arithmetic of every row, then every row that can be measured before `deadline`."""
    gpu = gpu_of_driver(torch.cuda.get_device_name()) if device.startswith("cuda") else None
    variant = "bf16" if section.variant == "label" else section.variant
    cost = (tiny_cost if small else real_cost)(section.card, variant)
    if section.variant == "label":
        label_rows(section, cost, device, small, gpu, deadline, emit)
        return
    dtype = torch.float32 if small else cost.profile.dtype
    try:
        if small:
            backbone = tiny_backbone(section.card, variant, device)
        else:
            backbone = real_backbone(section.card, variant, device, all_blocks=section.stock)
        batches = list(section.batches[:2] if small else section.batches)
        rows = map_rows(backbone, cost, stock=section.stock, asks=section.asks, words=WORDS, batches=batches)
        if section.stock and cost.card.family == "flux":
            rows += carried_rows(backbone, cost, WORDS)
    except torch.OutOfMemoryError as problem:
        emit(Result(section.name, "load", NO_MEMORY, str(problem).splitlines()[0]))
        return
    except Exception as problem:  # a section must not end the others; what went wrong is in the table
        emit(Result(section.name, "load", FAILED, f"{type(problem).__name__}: {problem}"))
        return
    for row in rows:
        emit(row.result(section.name))
    times = Repetitions(0, 1) if small else COMPILED if variant == "compile" else Repetitions()
    with torch.inference_mode():
        for row in rows:
            emit(measure(row, section.name, device, gpu, dtype, deadline, times))


def label_rows(
    section: Section, cost: MapCost, device: str, small: bool, gpu: Gpu | None, deadline: float, emit: Emit
) -> None:
    """`ca-seg label` from files to files, and from WebDataset shards by Ray."""
    batch, count = (2, 6) if small else (LABEL_BATCH, 12 * LABEL_BATCH)
    one = cost.maps(WORDS, batch)
    for name, ray in (("label files, Lightning", False), ("label WebDataset shards, Ray", True)):
        tflop, gbyte = one.flops / batch / 1e12, one.bytes / batch / 1e9
        result = Result(section.name, name, tflop=tflop, gbyte=gbyte)
        emit(result)
        if time.monotonic() > deadline:
            result.reason = "no time of the section is left"
            emit(result)
            continue
        try:
            seconds, first = seconds_per_image(
                section.card, ray=ray, device=device, small=small, count=count, words=WORDS, batch=batch
            )
        except Exception as problem:  # a row must not end the others; what went wrong is in the table
            result.status, result.reason = FAILED, f"{type(problem).__name__}: {str(problem).splitlines()[0:1]}"
            emit(result)
            continue
        result.notes = {"seconds_until_the_first_batch": first, "images": count, "batch": batch}
        if seconds <= 0:
            result.status, result.reason = FAILED, "the first batch was written last: other work disturbed it"
            emit(result)
            continue
        result.status, result.seconds, result.repetitions = MEASURED, seconds, 1
        result.images_per_second, result.tflop_per_second = 1 / seconds, tflop / seconds
        if gpu is not None:
            result.share_of_peak = 1e12 * tflop / seconds / gpu.peak(cost.profile.dtype)
        emit(result)


def in_process(index: int, options: argparse.Namespace, seconds: float) -> Iterator[Result]:
    """The results of a section that runs in a process of its own, which is ended when it is far over its time."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--section", str(index), "--seconds", str(seconds)]
    command += ["--device", options.device] + ["--small"] * options.small
    last: dict[str, Result] = {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        timer = threading.Timer(seconds + GRACE, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(LINE):
                    result = Result(**json.loads(line.removeprefix(LINE)))
                    last[result.row] = result
                    yield result
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
        errors.seek(0)
        reason = ([f"it was far over its time of {seconds:.0f} s"] if status < 0 else errors.read().split("\n"))[-2:]
    if status:
        for result in last.values():
            if result.status == COMPUTED and not result.reason:
                result.reason = f"its process ended: {' '.join(reason).strip()}"
                yield result
        if not last:
            yield Result(SECTIONS[index].name, "load", FAILED, " ".join(reason).strip())


def computed_hours() -> list[dict[str, Any]]:
    """The least GPU-hours for a million images, by card and GPU."""
    names = dict.fromkeys(section.card for section in SECTIONS)
    costs = {name: real_cost(name, "bf16").maps(WORDS) for name in names}
    return [
        {"card": name, "gpu": gpu.name, "gpu_hours_at_least": gpu.hours(operations, MILLION)}
        for name, operations in costs.items()
        for gpu in GPUS.values()
    ]


def measured_hours(results: Sequence[Result]) -> list[dict[str, Any]]:
    """GPU-hours for a million images, from the measured labelling rows; and hours on 8 and 64 GPUs."""
    return [
        {"row": r.row, "gpu_hours": hours, "hours_on_8_gpus": hours / 8, "hours_on_64_gpus": hours / 64}
        for r in results
        if r.row.startswith("label") and r.status == MEASURED and r.seconds
        for hours in [MILLION * r.seconds / HOUR]
    ]


def line_of(result: Result) -> str:
    """One line of the table."""
    if result.status != MEASURED:
        arithmetic = "" if result.tflop is None else f"{result.tflop:10.3f} {result.gbyte:9.2f}  "
        return f"{result.section:24} {result.row:34} {arithmetic}{result.status}: {result.reason}"
    figures = (
        (result.tflop, 10, 3),
        (result.gbyte, 9, 2),
        (None if result.seconds is None else 1000 * result.seconds, 10, 2),
        (result.images_per_second, 9, 2),
        (result.peak_gib, 8, 1),
        (result.tflop_per_second, 9, 1),
        (None if result.share_of_peak is None else 100 * result.share_of_peak, 7, 1),
    )
    cells = " ".join(
        f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}" for value, width, digits in figures
    )
    return f"{result.section:24} {result.row:34} {cells}"


HEADER = (
    f"{'section':24} {'row':34} {'TFLOP':>10} {'GB':>9} {'ms':>10} {'images/s':>9} {'GiB':>8} {'TFLOP/s':>9}  % peak"
)


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen sections; the report is written after each row."""
    end = time.monotonic() + 60 * options.minutes
    on_gpu = options.device.startswith("cuda")
    separate = on_gpu if options.separate is None else options.separate
    chosen = [
        index for index, section in enumerate(SECTIONS) if not options.sections or section.name in options.sections
    ]
    results: dict[tuple[str, str], Result] = {}
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    report: dict[str, Any] = {
        "device": options.device,
        "small": options.small,
        "words": WORDS,
        "versions": versions(),
        "million_images_computed": [] if options.small else computed_hours(),
    }

    def emit(result: Result) -> None:
        results[result.section, result.row] = result
        report["rows"] = [one.plain() for one in results.values()]
        report["million_images_measured"] = measured_hours(list(results.values()))
        if options.json:
            with atomic_write(options.json) as part:
                part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    print(HEADER, flush=True)
    for position, index in enumerate(chosen):
        section, left = SECTIONS[index], end - time.monotonic()
        seconds = left * section.share / sum(SECTIONS[i].share for i in chosen[position:])
        if separate:
            for result in in_process(index, options, seconds):
                emit(result)
        else:
            run_section(section, options.device, options.small, time.monotonic() + seconds, emit)
        for result in results.values():
            if result.section == section.name:
                print(line_of(result), flush=True)
    if on_gpu and not options.small:
        report["gpu"] = gpu_name()
    print_hours(report)
    for result in list(results.values())[-1:]:
        emit(result)
    return report


def gpu_name() -> dict[str, Any]:
    """The name that the driver gives, and the entry with its peaks."""
    name = torch.cuda.get_device_name()
    gpu = gpu_of_driver(name)
    return {"driver": name, "peaks": None if gpu is None else vars(gpu)}


def print_hours(report: dict[str, Any]) -> None:
    """GPU-hours for a million images: computed for every GPU, and measured."""
    for line in report["million_images_computed"]:
        hours = f"at least {line['gpu_hours_at_least']:8.1f} GPU-hours (computed from its peaks, not measured)"
        print(f"a million images, {line['card']:16} {line['gpu']:9} {hours}")
    if report["small"]:
        return  # figures of tiny models mean nothing
    for line in report.get("million_images_measured", []):
        print(f"a million images, {line['row']}: {line['gpu_hours']:.1f} GPU-hours from the measured row")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results to this file, after each row")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="the tiny models of the tests; their figures mean nothing")
    parser.add_argument("--minutes", type=float, default=8, help="for all sections together")
    names = [section.name for section in SECTIONS]
    parser.add_argument("--sections", nargs="+", choices=names, metavar="NAME", help=f"default: all of {names}")
    parser.add_argument(
        "--separate",
        action=argparse.BooleanOptionalAction,
        help="each section in a process of its own (default: on a GPU)",
    )
    parser.add_argument("--section", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = parser().parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # for Ray
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would starve beside other work
    if options.section is None:
        try:
            check_device(options.device)
        except UserError as problem:
            raise SystemExit(str(problem)) from problem
        benchmark(options)
        return
    deadline = time.monotonic() + options.seconds
    run_section(
        SECTIONS[options.section],
        options.device,
        options.small,
        deadline,
        lambda result: print(LINE + json.dumps(result.plain()), flush=True),
    )


if __name__ == "__main__":
    main()
