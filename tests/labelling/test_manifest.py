"""The manifest: killed while it is written, cut short anywhere, filled by several processes, opened by another run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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
    with Manifest(path, RUN) as again:
        assert again.keys == set(keys)


def test_an_entry_says_what_a_label_holds() -> None:
    mask = np.array([[0, 0, 1], [255, 1, 1]], np.uint8)
    confidence = np.array([[0.5, 1, 0.25], [0.125, 0.25, 1]], np.float32)
    label = Label("a/1", "a/1.png", 2, 3, mask, confidence=confidence)
    result = Entry.of(label, ("sky", "cat", "dog"), sha256="00", outputs=["x", "y"], seconds=1.23456789)
    assert result == Entry(
        "a/1", "a/1.png", 2, 3, "00", ("x", "y"), {"sky": 2, "cat": 3}, {"sky": 0.75, "cat": 0.5}, 1.2346
    )
    bare = Label("a/1", "a/1.png", 2, 3, mask)
    assert Entry.of(bare, ("sky", "cat"), sha256="00", outputs=[], seconds=0).confidence == {}
    assert Entry.of(label_of(mask), NAMES, sha256="", outputs=[], seconds=0).area == {"background": 2, "cat": 3}


def test_a_cut_anywhere_loses_only_the_partial_line(tmp_path: Path) -> None:
    """The file as a kill could leave it: cut in and around every line."""
    keys = ["a", "b/c", "d"]
    whole = filled(tmp_path / "whole", keys).read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({*range(0, len(whole) + 1, 17), *(end + step for end in [0, *ends] for step in (-2, -1, 0, 1))}):
        if not 0 <= cut <= len(whole):
            continue
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        complete = keys[: max(0, sum(end <= cut for end in ends) - 1)]
        if cut >= ends[0]:
            assert [item.key for item in read_entries(path, RUN)] == complete  # reading changes nothing
            assert path.stat().st_size == cut
        with Manifest(path, RUN) as manifest:
            assert manifest.keys == set(complete)
            manifest.add(entry("new"))
        assert list(read_entries(path, RUN)) == [entry(key) for key in [*complete, "new"]]


def test_a_long_partial_line_is_cut_too(tmp_path: Path) -> None:
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
        manifest.add(Entry(f"{number:06}", f"{number:06}.jpg", 4, 5, "ab" * 32, (), area, {}, 0.5))
        print(number, flush=True)
        number += 1
"""


def test_kill_9_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    """A process is killed again and again while it writes; each one goes on where the last was cut."""
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
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))  # room for half a line
    try:
        add("second")
    except UserError as error:
        assert str(path) in str(error)
    else:
        raise AssertionError("the line had no room")
    assert path.stat().st_size == size and "second" not in manifest.keys
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    add("second")
"""


def test_a_full_disk_leaves_no_partial_line(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    subprocess.run([sys.executable, "-c", FULL_DISK, str(path), RUN], cwd=ROOT, check=True)
    assert [item.key for item in read_entries(path, RUN)] == ["first", "second"]


def test_a_folder_of_another_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    other = fingerprint({"backbone": "mini", "words": ["dog"]})
    path = filled(tmp_path / "manifest.jsonl", ["a"])
    path.write_bytes(path.read_bytes() + b'{"half')
    before = path.read_bytes()
    for use in (
        lambda: Manifest(path, other),
        lambda: list(read_entries(path, other)),
        lambda: merge_manifests([path], tmp_path / "merged", other),
    ):
        with pytest.raises(UserError, match=f"{RUN}.*{other}"):
            use()
    assert path.read_bytes() == before
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    "content", [b"hello", b"hello\nworld", b"[]\n", b'{"manifest": 3, "fingerprint": "x"}\n', b"\n"]
)
def test_a_file_that_is_not_a_manifest_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for use in (lambda: Manifest(path, RUN), lambda: list(read_entries(path))):
        with pytest.raises(UserError, match=r"notes\.txt"):
            use()
    assert path.read_bytes() == content
    with pytest.raises(UserError, match="nowhere"):
        list(read_entries(tmp_path / "nowhere"))


def test_a_manifest_of_version_1_is_read_and_not_continued(tmp_path: Path) -> None:
    path = filled(tmp_path / "manifest.jsonl", ["a", "b"])
    former = path.read_bytes().replace(b'"manifest": 2', b'"manifest": 1').replace(b'"image"', b'"picture"')
    path.write_bytes(former)
    assert list(read_entries(path, RUN)) == [entry("a"), entry("b")]
    with pytest.raises(UserError, match="version 2"):
        Manifest(path, RUN)
    assert path.read_bytes() == former


@pytest.mark.parametrize("line", [b"{}", b"garbage", b"[1]", b"", b'{"key": 5}'])
def test_a_broken_line_in_the_middle_is_named(line: bytes, tmp_path: Path) -> None:
    path = filled(tmp_path / "manifest.jsonl", ["a"])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(UserError, match="line 3"):
        Manifest(path, RUN)
    with Manifest(tmp_path / "other", RUN):
        pass  # and the lock of the first was given back: it fails for the same reason again
    with pytest.raises(UserError, match="line 3"):
        Manifest(path, RUN)


def test_two_images_of_the_same_key_are_refused(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m", RUN) as manifest:
        manifest.add(entry("a"))
        with pytest.raises(UserError, match=r"^a "):
            manifest.add(entry("a"))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m", RUN) as manifest:
        manifest.add(entry("a"))
        again = subprocess.run(
            [sys.executable, "-c", WRITER, str(tmp_path / "m"), RUN], cwd=ROOT, capture_output=True, text=True
        )
        assert "another process" in again.stderr
        manifest.add(entry("b"))
    filled(tmp_path / "m", ["c"])
    assert [item.key for item in read_entries(tmp_path / "m", RUN)] == ["a", "b", "c"]


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.sampled_from([f"{a}{b}" for a in ("", "a/", "a-", "b/c/") for b in "zyxw"]), unique=True),
    processes=st.integers(1, 4),
)
def test_merged_manifests_are_sorted_and_whole(keys: list[str], processes: int, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("merge")
    paths = [filled(folder / f"{number}.jsonl", keys[number::processes]) for number in range(processes)]
    paths[0].write_bytes(paths[0].read_bytes() + b'{"half a line')
    assert merge_manifests(paths, folder / "all.jsonl", RUN) == len(keys)
    assert list(read_entries(folder / "all.jsonl", RUN)) == [entry(key) for key in sorted(keys, key=key_order)]
    assert merge_manifests(paths[::-1], folder / "back.jsonl", RUN) == len(keys)
    assert (folder / "back.jsonl").read_bytes() == (folder / "all.jsonl").read_bytes()
    with Manifest(folder / "all.jsonl", RUN) as manifest:
        assert manifest.keys == set(keys)


def test_processes_that_did_the_same_image_are_refused(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "1", ["a", "b"]), filled(tmp_path / "2", ["c", "a"])
    with pytest.raises(UserError, match=r"a is in .*1 and .*2"):
        merge_manifests([one, two], tmp_path / "all", RUN)
    assert not (tmp_path / "all").exists()
