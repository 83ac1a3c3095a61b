"""The contract of all label formats. A new one needs to be registered, and a reader in format_readers.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from ca_seg.errors import BadMask, UnknownName, UserError
from ca_seg.labelling.keys import key_order
from ca_seg.labelling.label import Label
from ca_seg.labelling.registry import FORMATS, list_formats
from tests.labelling.format_readers import READERS
from tests.labelling.random_labels import KINDS, NAMES, label_of, masks, random_mask

ROOT = Path(__file__).parents[2]
KEYS = (
    "0001",
    "a/0001",
    "a/b/0001",
    "a.b/0001",
    "a",
    "a-b",
    "images/train/images/7",
    'with space/it\'s "quoted" & <tagged>',
    "Ä/道/😀 é",
    "..hidden/.dot",
    "C/x.y.z",
    "%2e%2e%2fetc",
    "#?=&",
    "labels",
    "classes",
    "x" * 200,
)

every_format = pytest.mark.parametrize("name", FORMATS)


def write(folder: Path, name: str, labels: Iterable[Label]) -> list[str]:
    writer = FORMATS[name].open(folder, NAMES)
    return [file for label in labels for file in writer.write(label)] + writer.close()


def files(folder: Path) -> dict[str, bytes]:
    """All files except the pieces."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(".pieces/")}


def many() -> list[Label]:
    return [
        label_of(random_mask(seed, 3 + seed, 9, len(NAMES), KINDS[seed % len(KINDS)]), key, (".jpg", ".PNG")[seed % 2])
        for seed, key in enumerate(KEYS)
    ]


@every_format
def test_a_format_has_a_name_a_summary_and_a_reader(name: str) -> None:
    assert FORMATS[name].name == name
    assert list_formats()[name] == FORMATS[name].summary != ""
    assert name in READERS, f"write a reader for {name} in tests/labelling/format_readers.py"


@every_format
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mask=masks())
def test_an_independent_reader_gets_the_same_mask(name: str, mask: np.ndarray) -> None:
    label = label_of(mask)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), name, [label])
        np.testing.assert_array_equal(READERS[name](Path(folder), label), mask)


@every_format
def test_names_of_all_kinds_have_separate_files_in_the_folder(name: str, tmp_path: Path) -> None:
    labels = many()
    outputs = write(tmp_path, name, labels)
    assert sorted(outputs) == sorted(files(tmp_path))
    for label in labels:
        np.testing.assert_array_equal(READERS[name](tmp_path, label), label.mask)


@every_format
def test_files_do_not_depend_on_the_order_or_the_number_of_writers(name: str, tmp_path: Path) -> None:
    labels = many()
    write(tmp_path / "one", name, labels)
    first, second = (FORMATS[name].open(tmp_path / "two", NAMES) for _ in range(2))
    for index, label in enumerate(reversed(labels)):
        (first, second)[index % 2].write(label)
    second.close()
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_images_are_numbered_in_the_order_of_their_keys(tmp_path: Path) -> None:
    """Not in the order of the file system."""
    keys = [f"{folder}{number}" for folder in ("", "a/", "a-", "a/b/") for number in (3, 10, 1, 2)] + ["a", "a/b"]
    write(tmp_path, "coco", [label_of(np.zeros((1, 1), np.uint8), key) for key in keys])
    images = json.loads((tmp_path / "annotations.json").read_text(encoding="utf-8"))["images"]
    assert [image["file_name"] for image in images] == [f"{key}.jpg" for key in sorted(keys, key=key_order)]
    assert [image["id"] for image in images] == list(range(1, len(keys) + 1))


@every_format
def test_a_killed_run_resumes(name: str, tmp_path: Path) -> None:
    labels = many()
    write(tmp_path / "whole", name, labels)
    killed_writer = FORMATS[name].open(tmp_path / "killed", NAMES)
    for label in labels[:5]:
        killed_writer.write(label)
    for path in [path for path in (tmp_path / "killed").rglob("*") if path.is_file()]:
        path.with_name(path.name + ".part").write_bytes(path.read_bytes()[:3])  # as a killed process leaves it
    write(tmp_path / "killed", name, labels[3:])  # two of them again
    complete = {file: content for file, content in files(tmp_path / "killed").items() if not file.endswith(".part")}
    assert complete == files(tmp_path / "whole")


@every_format
def test_an_image_written_again_replaces_the_first(name: str, tmp_path: Path) -> None:
    old, new = (label_of(random_mask(seed, 8, 8, len(NAMES), "noise")) for seed in (1, 2))
    write(tmp_path / "twice", name, [old, new])
    write(tmp_path / "once", name, [new])
    assert files(tmp_path / "twice") == files(tmp_path / "once")


@every_format
def test_closing_twice_changes_nothing_and_labels_can_be_added(name: str, tmp_path: Path) -> None:
    labels = many()[:4]
    writer = FORMATS[name].open(tmp_path / "a", NAMES)
    for label in labels[:2]:
        writer.write(label)
    writer.close()
    before = files(tmp_path / "a")
    writer.close()
    assert files(tmp_path / "a") == before
    for label in labels[2:]:
        writer.write(label)
    writer.close()
    write(tmp_path / "b", name, labels)
    assert files(tmp_path / "a") == files(tmp_path / "b")


@every_format
def test_no_images(name: str, tmp_path: Path) -> None:
    assert sorted(write(tmp_path, name, [])) == sorted(files(tmp_path))
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


@every_format
def test_a_label_outside_the_classes_is_refused(name: str, tmp_path: Path) -> None:
    mask = np.array([[0, len(NAMES)]], np.uint8)
    with pytest.raises(BadMask, match=str(len(NAMES))):
        FORMATS[name].open(tmp_path, NAMES).write(label_of(mask))
    assert not files(tmp_path)


@every_format
@pytest.mark.parametrize("names", [(), ("",), ("cat", "cat"), ("new\nline",), ("bell\a",), ("\ud800",), ("c",) * 255])
def test_class_names_that_a_file_cannot_hold_are_refused(name: str, names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError):
        FORMATS[name].open(tmp_path, names)


@every_format
def test_a_link_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    """Nothing is written through a link in the output folder."""
    label = label_of(np.zeros((2, 2), np.uint8), "a/0001")
    write(tmp_path / "dry", name, [label])
    (tmp_path / "elsewhere").mkdir()
    for path in [path for path in (tmp_path / "dry").rglob("a") if path.is_dir()]:
        link = tmp_path / "out" / path.relative_to(tmp_path / "dry")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="out"):
        write(tmp_path / "out", name, [label])
    assert not list((tmp_path / "elsewhere").iterdir())


def _peak_of(action: Callable[[], object]) -> int:
    """Bytes that Python allocates at most while the action runs."""
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@every_format
def test_memory_does_not_grow_with_the_dataset(name: str, tmp_path: Path) -> None:
    """Closing a writer of ten times as many images (with the same number per folder) takes no more memory."""
    mask = random_mask(0, 10, 10, len(NAMES), "noise")
    label = label_of(mask)
    writer = FORMATS[name].open(tmp_path, NAMES)
    peaks = []
    for folders in (range(2), range(2, 20)):
        for key in (f"{folder:02}/{number:02}" for folder in folders for number in range(20)):
            writer.write(Label(key, f"{key}.jpg", *mask.shape, mask, label.scores, label.confidence))
        writer.close()
        peaks.append(min(_peak_of(writer.close) for _ in range(3)))  # threads of other tests allocate too
    assert peaks[1] < peaks[0] + 50_000  # the buffer of a text file


@every_format
def test_a_full_disk_is_a_clear_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where a folder must be")
    for folder in ("masks", "panoptic", "labels", "sem_seg", "ann_dir", "scores", ".pieces"):
        (tmp_path / "out" / folder).write_text("")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "out"))):
        write(tmp_path / "out", name, [label_of(np.zeros((2, 2), np.uint8), "a/0001")])


def test_excluded_classes_must_exist(tmp_path: Path) -> None:
    from ca_seg.labelling.formats.coco import Coco
    from ca_seg.labelling.formats.coco_panoptic import CocoPanoptic

    with pytest.raises(UnknownName, match="dog"):
        Coco(exclude=("dog",)).open(tmp_path, NAMES)
    with pytest.raises(UnknownName, match="dog"):
        CocoPanoptic(things=("dog",)).open(tmp_path, NAMES)


def test_the_formats_need_neither_torch_nor_a_backbone() -> None:
    code = "import sys; from ca_seg.labelling.registry import FORMATS, list_formats; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
