"""Processes that fill one cache, started by fork from a process that has imported everything but computed nothing.

python -m tests.features.fill_processes kills  DATA CACHE LOG SEED    killed again and again, then run to the end
python -m tests.features.fill_processes two    DATA CACHE LOG         two independent ones at once
python -m tests.features.fill_processes ranks  DATA CACHE LOG         two ranks of one run
python -m tests.features.fill_processes limit  DATA CACHE LOG         files may have 800 bytes at most

Prints JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.errors import UserError
from ca_seg.features.cache import FeatureCache
from ca_seg.features.fill import fill
from tests.features.small_source import ConvSource

SHARD = 4


def start_fill(data: str, cache: str, log: str, **options) -> int:
    """Start a fill in a forked process; returns its id. It exits with 0, or 3 for a UserError, which it prints."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        source = ConvSource(log=Path(log), pause=0.004)
        feature_cache = FeatureCache(cache, source.identity(), dtype="float32")
        fill(
            feature_cache,
            FolderDataset(Path(data), None),
            source,
            batch_size=2,
            progress=False,
            shard_images=SHARD,
            **options,
        )
        status = 0
    except UserError as problem:
        print(json.dumps(str(problem)), flush=True)
        status = 3
    finally:
        os._exit(status)


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    mode, *paths = sys.argv[1:5]
    if mode == "kills":
        rng = random.Random(int(sys.argv[5]))
        kill_count = 0
        for _ in range(200):
            child = start_fill(*paths)
            time.sleep(rng.uniform(0.0, 0.12))
            os.kill(child, signal.SIGKILL)
            kill_count += wait(child) == -signal.SIGKILL
            if kill_count >= 12:
                break
        print(json.dumps({"killed": kill_count, "last": wait(start_fill(*paths))}))
    elif mode == "two":
        print(json.dumps([wait(child) for child in [start_fill(*paths), start_fill(*paths)]]))
    elif mode == "ranks":
        barrier = multiprocessing.get_context("fork").Barrier(2)
        ranks = [start_fill(*paths, rank=rank, world=2, barrier=barrier.wait) for rank in range(2)]
        print(json.dumps([wait(child) for child in ranks]))
    elif mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        print(json.dumps(wait(start_fill(*paths))))


if __name__ == "__main__":
    main()
