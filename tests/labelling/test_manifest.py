"""The manifest: killed while written, truncated anywhere, filled by several processes, opened by a different run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ca_seg.errors import UserError
from ca_seg.fingerprint import fingerprint
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.keys import key_order
from ca_seg.labelling.label import Label
from ca_seg.labelling.manifest import Manifest, merge_manifests, read_entries
from tests.labelling.random_labels import NAMES, label_of

ROOT = Path(__file__).parents[2]
RUN = fingerprint({"backbone": "mini", "words": ["cat"]})


def entry(key: str, seconds: float = 0.5) -> Entry:
    return Entry(key, f"{key}.jpg", 4, 5, "ab" * 32, (f"png/masks/{key}.png",), {"cat": 20}, {"cat": 0.75}, seconds)


def filled(path: Path, keys: list[str]) -> Path:
    with Manifest(path, RUN) as manifest:
        for key in keys:
            manifest.add(entry(key))
    return path


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    keys = ["b", "a/1", "q\"uo'te", "道/é😀", "a b"]
    path = filled(tmp_path / "deep" / "manifest.jsonl", keys)
    assert list(read_entries(path, RUN)) == [entry(key) for key in keys]
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == len(keys) + 2
    assert json.loads(lines[0]) == {"manifest": 2, "fingerprint": RUN}
    with Manifest(path, RUN) as manifest:
        assert manifest.keys == set(keys)


def test_an_entry_describes_its_label() -> None:
    mask = np.array([[0, 0, 1], [255, 1, 1]], np.uint8)
    confidence = np.array([[0.5, 1, 0.25], [0.125, 0.25, 1]], np.float32)
    label = Label("a/1", "a/1.png", 2, 3, mask, confidence=confidence)
    result = Entry.of(label, ("sky", "cat", "dog"), sha256="00", outputs=["x", "y"], seconds=1.23456789)
    assert result == Entry(
        "a/1", "a/1.png", 2, 3, "00", ("x", "y"), {"sky": 2, "cat": 3}, {"sky": 0.75, "cat": 0.5}, 1.2346
    )
    without_confidence = Label("a/1", "a/1.png", 2, 3, mask)
    assert Entry.of(without_confidence, ("sky", "cat"), sha256="00", outputs=[], seconds=0).confidence == {}
    assert Entry.of(label_of(mask), NAMES, sha256="", outputs=[], seconds=0).area == {"background": 2, "cat": 3}


def test_truncation_anywhere_loses_only_the_partial_line(tmp_path: Path) -> None:
    """The file as a killed process could leave it: truncated within and around each line."""
    keys = ["a", "b/c", "d"]
    content = filled(tmp_path / "whole", keys).read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for size in sorted(
        {*range(0, len(content) + 1, 17), *(end + step for end in [0, *ends] for step in (-2, -1, 0, 1))}
    ):
        if not 0 <= size <= len(content):
            continue
        path = tmp_path / "cut"
        path.write_bytes(content[:size])
        complete = keys[: max(0, sum(end <= size for end in ends) - 1)]
        if size >= ends[0]:
            assert [item.key for item in read_entries(path, RUN)] == complete  # reading changes nothing
            assert path.stat().st_size == size
        with Manifest(path, RUN) as manifest:
            assert manifest.keys == set(complete)
            manifest.add(entry("new"))
        assert list(read_entries(path, RUN)) == [entry(key) for key in [*complete, "new"]]


def test_a_long_partial_line_is_removed_too(tmp_path: Path) -> None:
    path = filled(tmp_path / "m", ["a"])
    before = path.read_bytes()
    for rest in (b'{"key": "' + b"x" * 20_000, b"\0" * 9000, b"{"):
        path.write_bytes(before + rest)
        filled(path, [])
        assert path.read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.manifest import Manifest
with Manifest(Path(sys.argv[1]), sys.argv[2]) as manifest:
    number = len(manifest.keys)
    while True:
        area = {f"class {i}": i for i in range(200)}
        manifest.add(Entry(f"{number:06}", f"{number:06}.jpg", 400, 500, "ab" * 32, (), area, {}, 0.5))
        print(number, flush=True)
        number += 1
"""


def test_kill_9_loses_no_reported_entry(tmp_path: Path) -> None:
    """A process is killed several times while it writes; each new one continues from the complete lines."""
    path = tmp_path / "manifest.jsonl"
    for pause in (0.02, 0.0, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            reported = int(process.stdout.readline())
            time.sleep(pause)
            os.kill(process.pid, signal.SIGKILL)
            reported = max([reported, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
            assert process.wait() == -signal.SIGKILL
        numbers = [int(item.key) for item in read_entries(path, RUN)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= reported + 1
    with Manifest(path, RUN) as manifest:
        assert len(manifest.keys) == len(numbers)


FULL_DISK = """
import resource, sys
from pathlib import Path
from ca_seg.errors import UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.manifest import Manifest
path = Path(sys.argv[1])
with Manifest(path, sys.argv[2]) as manifest:
    def add(key):
        manifest.add(Entry(key, key + ".jpg", 4, 5, "ab" * 32, (), {}, {}, 0.5))
    add("first")
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))  # enough for half a line
    try:
        add("second")
    except UserError as error:
        assert str(path) in str(error)
    else:
        raise AssertionError("the line must not fit")
    assert path.stat().st_size == size and "second" not in manifest.keys
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    add("second")
"""


def test_a_full_disk_leaves_no_partial_line(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    subprocess.run([sys.executable, "-c", FULL_DISK, str(path), RUN], cwd=ROOT, check=True)
    assert [item.key for item in read_entries(path, RUN)] == ["first", "second"]


def test_a_manifest_of_other_settings_is_refused_and_not_changed(tmp_path: Path) -> None:
    new_settings = fingerprint({"backbone": "mini", "words": ["dog"]})
    path = filled(tmp_path / "manifest.jsonl", ["a"])
    path.write_bytes(path.read_bytes() + b'{"half')
    before = path.read_bytes()
    for action in (
        lambda: Manifest(path, new_settings),
        lambda: list(read_entries(path, new_settings)),
        lambda: merge_manifests([path], tmp_path / "merged", new_settings),
    ):
        with pytest.raises(UserError, match=f"{RUN}.*{new_settings}"):
            action()
    assert path.read_bytes() == before
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    "content", [b"hello", b"hello\nworld", b"[]\n", b'{"manifest": 3, "fingerprint": "x"}\n', b"\n"]
)
def test_a_file_that_is_not_a_manifest_is_refused_and_not_changed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for action in (lambda: Manifest(path, RUN), lambda: list(read_entries(path))):
        with pytest.raises(UserError, match=r"notes\.txt"):
            action()
    assert path.read_bytes() == content
    with pytest.raises(UserError, match="nowhere"):
        list(read_entries(tmp_path / "nowhere"))


def test_a_manifest_of_version_1_is_read_and_not_continued(tmp_path: Path) -> None:
    path = filled(tmp_path / "manifest.jsonl", ["a", "b"])
    former = path.read_bytes().replace(b'"manifest": 2', b'"manifest": 1').replace(b'"image"', b'"picture"')
    path.write_bytes(former)
    assert list(read_entries(path, RUN)) == [entry("a"), entry("b")]
    with pytest.raises(UserError, match=r"manifest\.jsonl.*\b2\b"):
        Manifest(path, RUN)
    assert path.read_bytes() == former


@pytest.mark.parametrize("line", [b"{}", b"garbage", b"[1]", b"", b'{"key": 5}'])
def test_a_broken_line_in_the_middle_is_named(line: bytes, tmp_path: Path) -> None:
    path = filled(tmp_path / "manifest.jsonl", ["a"])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(UserError, match=r"\b3\b"):
        Manifest(path, RUN)
    with Manifest(tmp_path / "other", RUN):
        pass  # the lock of the first was released, so that it fails for the same reason again
    with pytest.raises(UserError, match=r"\b3\b"):
        Manifest(path, RUN)


def test_two_images_of_the_same_key_are_refused(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m", RUN) as manifest:
        manifest.add(entry("a"))
        with pytest.raises(UserError, match=r"^a "):
            manifest.add(entry("a"))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m", RUN) as manifest:
        manifest.add(entry("a"))
        process = subprocess.run(
            [sys.executable, "-c", WRITER, str(tmp_path / "m"), RUN], cwd=ROOT, capture_output=True, text=True
        )
        assert process.returncode != 0
        assert f"UserError: {tmp_path / 'm'} " in process.stderr
        manifest.add(entry("b"))
    filled(tmp_path / "m", ["c"])
    assert [item.key for item in read_entries(tmp_path / "m", RUN)] == ["a", "b", "c"]


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.sampled_from([f"{a}{b}" for a in ("", "a/", "a-", "b/c/") for b in "zyxw"]), unique=True),
    processes=st.integers(1, 4),
)
def test_merged_manifests_are_sorted_and_complete(keys: list[str], processes: int, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("merge")
    paths = [filled(folder / f"{number}.jsonl", keys[number::processes]) for number in range(processes)]
    paths[0].write_bytes(paths[0].read_bytes() + b'{"half a line')
    assert merge_manifests(paths, folder / "all.jsonl", RUN) == len(keys)
    assert list(read_entries(folder / "all.jsonl", RUN)) == [entry(key) for key in sorted(keys, key=key_order)]
    assert merge_manifests(paths[::-1], folder / "back.jsonl", RUN) == len(keys)
    assert (folder / "back.jsonl").read_bytes() == (folder / "all.jsonl").read_bytes()
    with Manifest(folder / "all.jsonl", RUN) as manifest:
        assert manifest.keys == set(keys)


def test_manifests_with_the_same_image_are_refused(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "1", ["a", "b"]), filled(tmp_path / "2", ["c", "a"])
    with pytest.raises(UserError, match=r"^a .*/1\b.*/2\b"):
        merge_manifests([first, second], tmp_path / "all", RUN)
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("confidence", {"cat": 9990}), ("confidence", {"cat": -0.1}), ("area", {"cat": 21}), ("presence", 7.0)],
)
def test_numbers_that_no_label_has_are_named(tmp_path: Path, key: str, value: object) -> None:
    with Manifest(tmp_path / "manifest.jsonl", "f") as manifest:
        manifest.add(entry("a"))
        manifest.add(replace(entry("b"), **{key: value}))
    with pytest.raises(UserError, match="line 3"):
        list(read_entries(tmp_path / "manifest.jsonl"))
