"""classes.json: class lists that are read, class lists that are refused, ids to indices and back."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ca_seg.data.classes import ClassList
from ca_seg.data.classes_json import read_classes
from ca_seg.errors import BadDataset, BadMask

GOOD = {"ignore": [0, 255], "classes": {"151": "grass", "7": "cat"}, "source": "this test", "licence": "CC0"}


def parse(tmp_path, content) -> ClassList:
    path = tmp_path / "classes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_classes(path)


def test_indices_follow_the_ids(tmp_path) -> None:
    classes = parse(tmp_path, GOOD)
    assert classes == ClassList(("cat", "grass"), (7, 151), (0, 255), (), "this test", "CC0")
    assert len(classes) == 2
    kinds = {"7": "object", "151": "stuff"}
    assert parse(tmp_path, GOOD | {"kinds": kinds}).kinds == ("object", "stuff")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ({"classes": {}}, "1 to 254"),
        ({}, '"classes"'),
        ([], '"classes"'),
        ({"classes": ["cat"]}, '"classes"'),
        ("{not json", "JSON"),
        ("[" * 100_000, "JSON"),
        ('{"classes": {"1": "cat", "1": "dog"}}', "'1'"),
        ({"classes": {"1": "cat", "01": "dog"}}, "'classes'"),
        ({"classes": {"1": "cat", "2": "cat"}}, "'cat'"),
        ({"classes": {"1": "cat", "2": " cat "}}, "'cat'"),
        ({"classes": {"1": "cat"}, "ignore": [1]}, r"\b1\b"),
        ({"classes": {"1": " "}}, r"classes\.json"),
        ({"classes": {"1": 5}}, "'classes'"),
        ({"classes": {"cat": "1"}}, "'cat'.* 65535"),
        ({"classes": {"-1": "cat"}}, "'-1'.* 65535"),
        ({"classes": {"99999": "cat"}}, "99999.* 0 to 65535"),
        ({"classes": {"1": "cat"}, "ignore": 0}, '"ignore".* 0'),
        ({"classes": {"1": "cat"}, "ignore": [True]}, '"ignore".*True'),
        ({"classes": {"1": "cat"}, "void": 0}, "'void'.*classes, ignore"),
        ({"classes": {"1": "cat"}, "kinds": {"1": "thing"}}, "'thing'.*object, stuff"),
        ({"classes": {"1": "cat", "2": "dog"}, "kinds": {"1": "object"}}, r"\b2\b.*\"classes\".*\"kinds\""),
        ({"classes": {"1": "cat"}, "kinds": ["object"]}, "'kinds'"),
        ({"classes": {"1": "cat"}, "kinds": {"1": 1}}, "'kinds'"),
        ({"classes": {"1": "cat"}, "kinds": {"1": "object", "01": "stuff"}}, "'kinds'"),
        ({"classes": {"1": "cat"}, "source": 3}, '"source"'),
        ({"classes": {str(i): f"c{i}" for i in range(255)}}, "255.* 1 to 254"),
    ],
)
def test_bad_class_lists_are_refused(tmp_path, content, value) -> None:
    with pytest.raises(BadDataset, match=value) as caught:
        parse(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "classes.json"))


def test_missing_file(tmp_path) -> None:
    with pytest.raises(BadDataset, match=r"classes\.json") as caught:
        read_classes(tmp_path / "classes.json")
    assert '"classes"' in caught.value.fix  # an example


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ids_to_indices_and_back(data) -> None:
    """Against a dictionary, pixel by pixel. Ids and indices overlap, so that a conversion in place would fail."""
    top = data.draw(st.sampled_from([255, 65535]))
    ids = tuple(data.draw(st.lists(st.integers(0, top), min_size=2, max_size=40, unique=True)))
    ignored = data.draw(st.integers(0, len(ids) - 1))
    classes = ClassList(tuple(f"c{i}" for i in ids[ignored:]), ids[ignored:], ids[:ignored])
    mask = np.array(data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=30)))
    index_of = {class_id: index for index, class_id in enumerate(classes.ids)} | dict.fromkeys(classes.ignore, 255)
    indices = classes.to_index(mask.astype(np.uint8 if top == 255 else np.uint16))
    assert indices.dtype == np.int64
    assert indices.tolist() == [index_of[number] for number in mask.tolist()]
    back = classes.to_ids(indices)
    assert back.dtype == (np.uint8 if max(ids) <= 255 else np.uint16)
    assert back.tolist() == [classes.ignore[0] if number in classes.ignore else number for number in mask.tolist()]


def test_labels_outside_the_list_are_refused() -> None:
    classes = ClassList(("cat", "grass", "sky"), (7, 8, 151), (0,))
    with pytest.raises(BadMask, match=r"\b9\b.*\b2 pixels.*7-8, 151"):
        classes.to_index(np.array([[7, 9], [9, 0]]))
    for outside in (-1, 65536, 2**40):
        with pytest.raises(BadMask, match=rf"(?<!\d){outside}\b"):
            classes.to_index(np.array([7, outside]))
    with pytest.raises(BadMask, match="float64"):
        classes.to_index(np.array([7.0]))
    with pytest.raises(BadMask, match=r"\b3\b.*0 to 2, 255"):
        classes.to_ids(np.array([3]))
    with pytest.raises(BadMask, match=r'\b255\b.*"ignore"'):
        ClassList(("cat",), (7,)).to_ids(np.array([255]))
