"""The benchmark of methods measures what it says, in its own process."""

from __future__ import annotations

from benchmarks.methods import measure


def test_a_method_is_timed_on_its_small_model():
    row = measure("rollout", real=False, device="cpu")
    assert set(row) == {"open_seconds", "seconds", "peak_mib"}
    assert row["open_seconds"] > 0
    assert row["seconds"] > 0
    assert row["peak_mib"] >= 0
