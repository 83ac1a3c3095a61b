"""YAML files within limits: what ordinary files hold is read as PyYAML reads it, the rest is refused at once."""

from __future__ import annotations

import os
import time

import pytest
import yaml

from ca_seg.cli.config import read_config
from ca_seg.errors import UserError
from ca_seg.vocabulary_file import read_vocabulary
from ca_seg.yaml_file import MAX_DEPTH, load_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "laughs": LAUGHS,
    "circle": "a: &a [*a]\n",
    "brackets": "a: " + "[" * 3000 + "]" * 3000,
    "braces": "{a: " * 3000,
    "twice": "a: 1\nb: 2\na: 3\n",
    "unhashable": "? [1, 2]\n: 3\n",
    "open": "a: [1, 2",
    "tag": "a: !!python/object/apply:os.getcwd []\n",
    "large": "# " + "x" * 2**21,
}


def test_ordinary_files_are_read_as_by_pyyaml(tmp_path):
    text = "base: &b {lr: 0.1, layers: [1, 2]}\nmodel: {<<: *b, name: mini}\nwords: [yes, 3, null, 'ü']\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert load_yaml(tmp_path / "a.yaml") == yaml.safe_load(text)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "empty.yaml") is None
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    (tmp_path / "deep.yaml").write_text(deep)
    assert load_yaml(tmp_path / "deep.yaml") == yaml.safe_load(deep)


@pytest.mark.parametrize("name", REFUSED)
def test_files_beyond_a_limit_are_refused_at_once(tmp_path, name):
    path, start = tmp_path / f"{name}.yaml", time.process_time()
    path.write_text(REFUSED[name])
    with pytest.raises(yaml.YAMLError):
        load_yaml(path)
    for read in (read_config, read_vocabulary):
        with pytest.raises(UserError, match=rf"{name}\.yaml"):
            read(path)
    assert time.process_time() - start < 10


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe\.yaml"):
        read_vocabulary(tmp_path / "pipe.yaml")
