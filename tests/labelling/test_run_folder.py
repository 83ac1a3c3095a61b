"""The settings of a run's folder, and the images that were labelled in it before."""

from __future__ import annotations

import json

import pytest

from ca_seg.errors import UserError
from ca_seg.labelling import run_folder
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.manifest import Manifest, read_entries
from ca_seg.labelling.run_folder import RunFolder

SETTINGS = {"model": {"backbone": "mini", "layers": None}, "threshold": 0.3, "formats": ["png"], "seed": 0}


def entry(key, sha256="0" * 64, outputs=()):
    return Entry(key, f"{key}.jpg", 4, 5, sha256, tuple(outputs), {"cat": 20}, {"cat": 0.5}, 0.1)


def begin(out, settings=SETTINGS):
    folder = RunFolder(out, settings)
    folder.begin({"classes": ["cat"]}).release()
    return folder


def add(folder, rank, *entries):
    with Manifest(folder.part(rank), folder.fingerprint) as manifest:
        for item in entries:
            manifest.add(item)


def keys(path):
    return [entry.key for entry in read_entries(path)]


def test_run_json_has_the_settings(tmp_path):
    folder = begin(tmp_path / "new" / "out")
    content = json.loads((folder.out / "run.json").read_text())
    assert content["settings"] == SETTINGS
    assert content["fingerprint"] == folder.fingerprint
    assert content["classes"] == ["cat"]
    assert begin(folder.out, dict(reversed(SETTINGS.items()))).fingerprint == folder.fingerprint


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"seed": 3}, r"\bseed\b.*\b0\b.*\b3\b"),
        ({"model": {"backbone": "mini", "layers": [1]}}, r"model\.layers\b.*\bnull\b.*\b1\b"),
        ({"threshold": {"cat": 0.2}}, r"threshold\.cat\b.*\b0\.2\b"),
        ({"formats": ["png", "coco"]}, r"\bformats\b.*\bpng\b.*\bpng, coco\b"),
        ({"formats": "png"}, "out"),  # differs in the type only, which the text does not show: the folder is named
        ({"new": "x" * 100}, r"\bnew\b.*x+ …"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, changes, value):
    begin(tmp_path / "out")
    with pytest.raises(UserError, match=value) as caught:
        begin(tmp_path / "out", SETTINGS | changes)
    assert caught.value.fix


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": "ca_seg.labels/1", "settings": {}}'])
def test_an_unreadable_run_json_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        begin(tmp_path)


def test_a_folder_with_other_files_is_refused_and_not_changed(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        begin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="thesis"):
        begin(tmp_path / "thesis.tex" / "out")


def test_two_runs_at_once_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "PATIENCE", 0.05)
    folder = RunFolder(tmp_path, SETTINGS)
    lock = folder.begin({})
    with pytest.raises(UserError, match=str(tmp_path)):
        RunFolder(tmp_path, SETTINGS).begin({})
    lock.release()
    with Manifest(folder.part(1), folder.fingerprint), pytest.raises(UserError, match=r"rank-1\.jsonl"):
        folder.begin({})  # a process of a killed run is still writing
    begin(tmp_path)


def test_labels_of_all_processes_are_merged(tmp_path):
    folder = begin(tmp_path)
    add(folder, 0, entry("a"), entry("c"))
    add(folder, 1, entry("b/1"))
    add(folder, 7, entry("d"))
    assert folder.labelled() == {}  # known when the next run begins
    folder = begin(tmp_path)
    assert sorted(folder.labelled()) == ["a", "b/1", "c", "d"]
    assert not folder.part(7).exists()
    add(folder, 0, entry("e"))
    assert keys(folder.finish()) == ["a", "b/1", "c", "d", "e"]
    assert sorted(begin(tmp_path).labelled()) == ["a", "b/1", "c", "d", "e"]


def test_an_image_that_was_labelled_again_counts_once(tmp_path):
    folder = begin(tmp_path)
    add(folder, 0, entry("a"), entry("b", sha256="1" * 64))
    folder = begin(tmp_path)
    add(folder, 0, entry("b", sha256="2" * 64))
    assert [item.sha256[0] for item in read_entries(folder.finish())] == ["0", "2"]
    assert begin(tmp_path).labelled()["b"] == "2" * 64


def test_a_kill_while_merging_loses_and_repeats_nothing(tmp_path, monkeypatch):
    folder = begin(tmp_path)
    add(folder, 0, entry("a"))
    add(folder, 1, entry("b"))
    for when in ("before", "after"):

        def killed_merge(*arguments, when=when, merge=run_folder.merge_manifests, **options):
            if when == "after":
                merge(*arguments, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "merge_manifests", killed_merge)
            with pytest.raises(KeyboardInterrupt):
                begin(tmp_path)
    assert sorted(begin(tmp_path).labelled()) == ["a", "b"]


def test_partial_lines_and_headers_are_removed(tmp_path):
    folder = begin(tmp_path)
    add(folder, 0, entry("a"))
    with open(folder.part(0), "ab") as file:
        file.write(b'{"key": "b", "pic')
    folder.part(1).write_bytes(b'{"manif')
    assert sorted(begin(tmp_path).labelled()) == ["a"]


def test_an_image_whose_files_were_removed_is_not_labelled(tmp_path):
    folder = begin(tmp_path)
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "a.png").write_bytes(b"x")
    add(folder, 0, entry("a", outputs=["png/a.png"]), entry("b", outputs=["png/b.png"]))
    assert sorted(begin(tmp_path).labelled()) == ["a"]
