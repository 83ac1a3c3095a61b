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
    tempered = apply_temperature(torch.from_numpy(scores)[None], temperature)[0].numpy()
    tempered_pixels = apply_temperature_to_pixels(scores.reshape(5, -1), temperature).reshape(scores.shape)
    expected = softmax(np.log(scores.astype(np.float64)) / temperature, axis=0)
    np.testing.assert_allclose(tempered, expected, atol=5e-6)
    np.testing.assert_allclose(tempered_pixels, expected, atol=1e-7)
    np.testing.assert_allclose(temper(scores, temperature), expected, atol=1e-7)
    np.testing.assert_array_equal(tempered.argmax(0), scores.argmax(0))


def test_tempering_at_its_ends() -> None:
    tiny = np.array([[3e-30], [1e-30], [0.0]], np.float32)
    expected = np.exp(log_softmax(np.log(np.array([3.0, 1.0])) / 0.1))
    np.testing.assert_allclose(apply_temperature_to_pixels(tiny, 0.1)[:, 0], [*expected, 0], rtol=1e-5)
    assert apply_temperature_to_pixels(np.zeros((3, 1)), 0.5).tolist() == [[0.0]] * 3
    assert apply_temperature(torch.zeros(1, 3, 1, 1), 0.5).flatten().tolist() == [0.0] * 3


def test_a_calibration_gives_confidence_and_thresholds(tmp_path: Path) -> None:
    single = read_calibration(write(tmp_path))
    assert (single.temperature, single.measure, single.threshold(["cat"]), single.backbone) == (
        0.5,
        "margin",
        0.25,
        "mini",
    )
    scores = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_allclose(single.confidence(scores), margin(temper(scores, 0.5)), atol=1e-7)
    per_class = read_calibration(write(tmp_path, threshold=None, thresholds={"cow": NEVER, "cat": 0.5}))
    assert per_class.threshold(["cat", "cow"]).tolist() == [0.5, NEVER]
    mask = np.array([[0, 0, 1]], np.uint8)
    confidence = np.array([[0.6, 0.4, 1.0]], np.float32)
    assert ignore_below(mask, confidence, per_class.threshold(["cat", "cow"])).tolist() == [[0, 255, 255]]
    with pytest.raises(UserError, match="'dog'"):
        per_class.threshold(["cat", "dog"])


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        ({"schema": "ca_seg.calibration/2"}, ["ca_seg.calibration/2", SCHEMA]),
        ({"schema": None}, ["None", SCHEMA]),
        ({"temperature": 0}, ["temperature", "0"]),
        ({"temperature": float("inf")}, ["temperature", "inf"]),
        ({"temperature": "warm"}, ["temperature", "'warm'"]),
        ({"threshold": -0.1}, ["threshold", "-0.1", str(NEVER)]),
        ({"threshold": True}, ["threshold", "True"]),
        ({"threshold": float("nan")}, ["threshold", "nan"]),
        ({"thresholds": {"cat": 0.5}}, ["threshold", "thresholds"]),
        ({"threshold": None}, ["threshold", "thresholds"]),
        ({"threshold": None, "thresholds": {"cat": 2}}, ["threshold", "'cat'", "2"]),
        ({"threshold": None, "thresholds": []}, ["thresholds", "[]"]),
        ({"measure": "agreement"}, ["'agreement'", "margin, entropy, max_probability"]),
        ({"vocabulary": None}, ["'vocabulary'"]),
        ({"figures": []}, ["'figures'"]),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(tmp_path: Path, changed: dict, values: list[str]) -> None:
    path = write(tmp_path, **changed)
    with pytest.raises(UserError) as problem:
        read_calibration(path)
    assert all(value in str(problem.value) for value in values)
    assert str(path) in str(problem.value)


def test_a_file_that_is_missing_or_not_json_is_named(tmp_path: Path) -> None:
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
