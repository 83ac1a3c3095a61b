"""Seconds and memory an image of every method: python -m benchmarks.methods [--real] [--json FILE] [NAME ...]

    open_seconds    to build the method
    seconds         one image, one class (the least of several runs after a first one)
    peak_mib        largest memory of the process, beyond what it had before the method was opened

By default on the small random models of the tests, which compare the methods' own work on one scale. With --real the
published weights are read. Each method runs in a separate process. Memory is that of the CPU; on a GPU the largest
allocation there is given beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

RUNS = 5
SIDE = 224  # pixels of the image


def measure(name: str, *, real: bool, device: str) -> dict[str, float]:
    """Open one method and predict one image a few times, in this process."""
    import torch

    import ca_seg
    from tests.methods.small import small_methods

    small = small_methods()[name]
    inputs = {} if real else small.inputs()
    word = "goldfish" if real else small.words[0]
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    before = _peak_mib()
    start = time.perf_counter()
    method = ca_seg.method(name, device=device, **inputs)
    opened = time.perf_counter() - start
    seconds = []
    for _ in range(1 + RUNS):
        start = time.perf_counter()
        method.predict(image, [word])
        seconds.append(time.perf_counter() - start)
    row = {
        "open_seconds": opened,
        "seconds": min(seconds[1:]),
        "peak_mib": _peak_mib() - before,
    }
    if device.startswith("cuda"):
        row["gpu_peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return row


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kibibytes on Linux


def main() -> None:
    from ca_seg.methods.registry import MODULES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="methods; by default all")
    parser.add_argument("--real", action="store_true", help="published weights in place of small random models")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # the separate process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.names[0], real=options.real, device=options.device)))
        return
    rows = {}
    for name in options.names or MODULES:
        command = [sys.executable, "-m", "benchmarks.methods", "--one", name, "--device", options.device]
        result = subprocess.run(command + ["--real"] * options.real, capture_output=True, text=True)
        if result.returncode:
            print(f"{name:20} failed: {result.stderr.strip().splitlines()[-1]}")
            continue
        rows[name] = json.loads(result.stdout.splitlines()[-1])
        print(f"{name:20}", "  ".join(f"{key} {value:.3f}" for key, value in rows[name].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
