"""Timing for comparisons: the runs that are compared take turns."""

from __future__ import annotations

import time
from collections.abc import Callable


def in_turn(rounds: int, runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """The seconds of each run in each round, after one warm-up round.

    In a round each run is called once, so that slow moments of the machine affect all runs alike.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - start)
    return times
