"""Processes that fill one cache, started by fork from a process that has imported everything but computed nothing.

python -m tests.features.filling kills  DATA CACHE LOG SEED    killed again and again, then run to the end
python -m tests.features.filling two    DATA CACHE LOG         two at once, that know nothing of each other
python -m tests.features.filling ranks  DATA CACHE LOG         two ranks of one run
python -m tests.features.filling limit  DATA CACHE LOG         files may have 800 bytes at most

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


def filler(data: str, cache: str, log: str, **options) -> int:
    """Fill in a forked process; its id. It leaves 0, or 3 for a UserError, which it prints."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        source = ConvSource(log=Path(log), pause=0.004)
        given = FeatureCache(cache, source.identity(), dtype="float32")
        fill(
            given,
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
    how, *paths = sys.argv[1:5]
    if how == "kills":
        draw = random.Random(int(sys.argv[5]))
        killed = 0
        for _ in range(200):
            child = filler(*paths)
            time.sleep(draw.uniform(0.0, 0.12))
            os.kill(child, signal.SIGKILL)
            killed += wait(child) == -signal.SIGKILL
            if killed >= 12:
                break
        print(json.dumps({"killed": killed, "last": wait(filler(*paths))}))
    elif how == "two":
        print(json.dumps([wait(child) for child in [filler(*paths), filler(*paths)]]))
    elif how == "ranks":
        barrier = multiprocessing.get_context("fork").Barrier(2)
        ranks = [filler(*paths, rank=rank, world=2, barrier=barrier.wait) for rank in range(2)]
        print(json.dumps([wait(child) for child in ranks]))
    elif how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        print(json.dumps(wait(filler(*paths))))


if __name__ == "__main__":
    main()
