"""Labels that are accepted and refused, and their keys."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, reject

from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.keys import check_relative, key_order
from ca_seg.labelling.label import Label

ZEROS = np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\\..\\b", "C:/a", "a:b", "\\\\host\\share\\a",
     "a\nb", "a\0b", "a\x85b", "a\u2028b", "\udcff", "a\ufffe", "\ufdd0", "x" * 241, "道" * 81],
)  # fmt: skip
def test_names_that_leave_the_folder_or_break_a_file_are_refused(key: str) -> None:
    with pytest.raises(UserError, match="key"):
        Label(key, f"{key}.jpg", 2, 3, ZEROS)


@given(st.text(max_size=30))
def test_an_accepted_name_stays_in_its_folder(name: str) -> None:
    try:
        check_relative(name, "the key")
    except UserError:
        reject()
    root = Path("/some/root").resolve()
    path = (root / f"{name}.png").resolve()
    assert path.is_relative_to(root)
    assert path.relative_to(root).as_posix() == f"{name}.png"
    assert name.splitlines() == [name]


@pytest.mark.parametrize("file_name", ["b.jpg", "a", "a/b.jpg", "a.tar.gz", "../a.jpg", ""])
def test_the_image_must_fit_its_key(file_name: str) -> None:
    with pytest.raises(UserError):
        Label("a", file_name, 2, 3, ZEROS)
    assert Label("a.tar", "a.tar.gz", 2, 3, ZEROS).ending == ".gz"


@pytest.mark.parametrize(
    "changes",
    [
        {"mask": ZEROS.astype(int)},
        {"mask": ZEROS.T},
        {"mask": ZEROS[None]},
        {"mask": ZEROS[:, :0], "width": 0},
        {"scores": np.zeros((4, 3, 2))},
        {"scores": np.zeros((4, 2, 3), int)},
        {"scores": np.zeros((2, 3))},
        {"confidence": np.zeros((3, 2))},
        {"confidence": np.full((2, 3), 1.01)},
        {"confidence": np.full((2, 3), -0.01)},
        {"confidence": np.full((2, 3), np.nan)},
    ],
)
def test_inconsistent_arrays_are_refused(changes: dict) -> None:
    arguments = {"key": "a", "file_name": "a.jpg", "height": 2, "width": 3, "mask": ZEROS}
    Label(**arguments, scores=np.zeros((4, 2, 3), np.float16), confidence=np.ones((2, 3), np.float32))
    with pytest.raises(BadMask, match="a: "):
        Label(**{**arguments, **changes})


def test_present_classes_are_those_with_pixels() -> None:
    label = Label("a", "a.jpg", 1, 4, np.array([[3, 255, 0, 3]], np.uint8))
    assert label.present == [0, 3]
    label.check(4)
    with pytest.raises(BadMask, match="3"):
        label.check(3)


def test_keys_are_sorted_folder_by_folder() -> None:
    assert sorted(["a-b", "a/c", "b", "a", "a/b"], key=key_order) == ["a", "a/b", "a/c", "a-b", "b"]
