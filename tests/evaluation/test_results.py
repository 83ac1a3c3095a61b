"""results.json: JSON without nan, expectations, fingerprints, class pixels and names of methods."""

from __future__ import annotations

import json

import pytest

from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import UnknownName, UserError
from ca_seg.evaluation.expectations import check_expected, check_pairs
from ca_seg.json_file import write_json
from ca_seg.predictors.registry import check_methods, class_pixels


def test_expectations_hold_or_not_and_unknown_keys_are_named():
    results = {"metrics": {"full": {"miou": 0.5}}}
    assert check_expected({"metrics/full/miou": [0.49, 0.02]}, results)[0]["holds"]
    assert not check_expected({"metrics/full/miou": [0.4, 0.02]}, results)[0]["holds"]
    with pytest.raises(UserError, match="'mio'"):
        check_expected({"metrics/full/mio": [0, 1]}, results)
    with pytest.raises(UserError, match="metrics/full"):
        check_expected({"metrics/full": [0, 1]}, results)
    with pytest.raises(UserError, match="metrics/full/miou"):
        check_pairs({"metrics/full/miou": 0.5})


def test_nan_becomes_null(tmp_path):
    write_json(tmp_path / "new" / "r.json", {"a": float("nan"), "b": [1.0000000001]})
    assert json.loads((tmp_path / "new" / "r.json").read_text()) == {"a": None, "b": [1.0]}


def test_fingerprints_of_datasets_differ():
    in_distribution, shifted = (open_dataset("scenes", split=split) for split in ("in_distribution", "shifted"))
    assert in_distribution.fingerprint() != shifted.fingerprint()
    assert in_distribution.fingerprint() == open_dataset("scenes", split="in_distribution").fingerprint()


def test_class_pixels_sum_to_all_pixels():
    dataset = open_dataset("scenes", split="shifted")
    assert sum(class_pixels(dataset).values()) == 60 * 128 * 128


def test_an_unknown_method_is_named():
    with pytest.raises(UnknownName, match="random-maps"):
        check_methods(["mini", "random-map"])
