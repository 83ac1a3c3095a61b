"""calibration.json read back, and tempering against scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from ca_seg.confidence.calibration import NEVER, SCHEMA, read_calibration, vocabulary_fingerprint
from ca_seg.confidence.pixels import apply_temperature_to_pixels
from ca_seg.confidence.temperature import apply_temperature
from ca_seg.confidence.threshold import ignore_below
from ca_seg.errors import UserError
from tests.confidence.numpy_measures import margin, temper

GOOD = {
    "schema": SCHEMA, "temperature": 0.5, "measure": "margin", "threshold": 0.25, "backbone": "mini",
    "vocabulary": "9f", "figures": {"precision": 0.95}, "more": "is left alone",
}  # fmt: skip


def write(folder: Path, **changed: object) -> Path:
    """GOOD with changes; None takes a key out."""
    content = {key: value for key, value in (GOOD | changed).items() if value is not None}
    (folder / "c.json").write_text(json.dumps(content))
    return folder / "c.json"


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 3.0])
def test_tempering_against_scipy(temperature: float) -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((5, 150, 3)) ** 4 * 7).astype(np.float32)
    found = apply_temperature(torch.from_numpy(scores)[None], temperature)[0].numpy()
    wide = apply_temperature_to_pixels(scores.reshape(5, -1), temperature).reshape(scores.shape)
    expected = softmax(np.log(scores.astype(np.float64)) / temperature, axis=0)
    np.testing.assert_allclose(found, expected, atol=5e-6)
    np.testing.assert_allclose(wide, expected, atol=1e-7)
    np.testing.assert_allclose(temper(scores, temperature), expected, atol=1e-7)
    np.testing.assert_array_equal(found.argmax(0), scores.argmax(0))


def test_tempering_at_its_ends() -> None:
    tiny = np.array([[3e-30], [1e-30], [0.0]], np.float32)
    expected = np.exp(log_softmax(np.log(np.array([3.0, 1.0])) / 0.1))
    np.testing.assert_allclose(apply_temperature_to_pixels(tiny, 0.1)[:, 0], [*expected, 0], rtol=1e-5)
    assert apply_temperature_to_pixels(np.zeros((3, 1)), 0.5).tolist() == [[0.0]] * 3
    assert apply_temperature(torch.zeros(1, 3, 1, 1), 0.5).flatten().tolist() == [0.0] * 3


def test_a_calibration_says_what_the_labels_need(tmp_path: Path) -> None:
    one = read_calibration(write(tmp_path))
    assert (one.temperature, one.measure, one.threshold(["cat"]), one.backbone) == (0.5, "margin", 0.25, "mini")
    scores = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_allclose(one.confidence(scores), margin(temper(scores, 0.5)), atol=1e-7)
    each = read_calibration(write(tmp_path, threshold=None, thresholds={"cow": NEVER, "cat": 0.5}))
    assert each.threshold(["cat", "cow"]).tolist() == [0.5, NEVER]
    mask = np.array([[0, 0, 1]], np.uint8)
    sure = np.array([[0.6, 0.4, 1.0]], np.float32)
    assert ignore_below(mask, sure, each.threshold(["cat", "cow"])).tolist() == [[0, 255, 255]]
    with pytest.raises(UserError, match="'dog'"):
        each.threshold(["cat", "dog"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": "ca_seg.calibration/2"}, "of schema 'ca_seg.calibration/2'. Allowed: ca_seg.calibration/1"),
        ({"schema": None}, "of schema None"),
        ({"temperature": 0}, "the temperature is 0"),
        ({"temperature": float("inf")}, "the temperature is inf"),
        ({"temperature": "warm"}, "the temperature is 'warm'"),
        ({"threshold": -0.1}, "threshold of 'all classes' is -0.1. Allowed: a number of 0 to 1.01"),
        ({"threshold": True}, "is True"),
        ({"threshold": float("nan")}, "is nan"),
        ({"thresholds": {"cat": 0.5}}, "both a threshold and thresholds"),
        ({"threshold": None}, "or neither"),
        ({"threshold": None, "thresholds": {"cat": 2}}, "threshold of 'cat' is 2"),
        ({"threshold": None, "thresholds": []}, "thresholds are []"),
        ({"measure": "agreement"}, "the measure is 'agreement'. Allowed: margin, entropy, max_probability"),
        ({"vocabulary": None}, "has no 'vocabulary'"),
        ({"figures": []}, "has no 'figures'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changed: dict, said: str) -> None:
    path = write(tmp_path, **changed)
    with pytest.raises(UserError) as problem:
        read_calibration(path)
    assert said in str(problem.value)
    assert str(path) in str(problem.value)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    for content in (None, b"{", b"\xff", b"[]"):
        if content is not None:
            (tmp_path / "c.json").write_bytes(content)
        with pytest.raises(UserError, match=r"c\.json"):
            read_calibration(tmp_path / "c.json")


def test_other_words_have_another_fingerprint() -> None:
    names = {
        vocabulary_fingerprint(*words)
        for words in (
            (["cat", "cow"], [["cat"], ["cow"]]),
            (["cow", "cat"], [["cow"], ["cat"]]),
            (["cat", "cow"], [["cat", "kitten"], ["cow"]]),
            (["cat", "cow"], [["a cat"], ["a cow"]]),
        )
    }
    assert len(names) == 4
    assert vocabulary_fingerprint(("cat",), (("cat",),)) == vocabulary_fingerprint(["cat"], [["cat"]])
