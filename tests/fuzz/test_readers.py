"""Damaged files: every reader gives a right result or one UserError.

    FUZZ_EXAMPLES=2000 pytest tests/fuzz -k calibration       more cases of one reader
    FUZZ_CASES=17,40-50 pytest tests/fuzz -k calibration      these cases only
    FUZZ_SEED=monday                                          another series

A dataset, head or label format is fuzzed because it is registered.
"""

from __future__ import annotations

import os

import pytest

from ca_seg.data.catalogue import DATASETS
from tests.fuzz import of_data, of_runs, of_weights
from tests.fuzz.sandbox import faults, numbers

READERS = {reader.name: reader for reader in (*of_data.READERS, *of_runs.READERS, *of_weights.READERS)}
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_give_a_result_or_one_error(name, tmp_path):
    reader = READERS[name]
    chosen = os.environ.get("FUZZ_CASES")
    cases = numbers(chosen) if chosen else range(max(1, round(EXAMPLES * reader.share)))
    findings = faults(reader, tmp_path, cases, os.environ.get("FUZZ_SEED", ""))
    assert not findings, f"{len(findings)} faults:\n" + "\n".join(map(str, findings))


def test_every_dataset_is_fuzzed():
    fuzzed = {name.removeprefix("dataset-") for name in READERS if name.startswith("dataset-")}
    assert set(DATASETS) - fuzzed == set(of_data.SHIPPED)
