"""Atomic file writes, also on a full disk."""

from __future__ import annotations

import errno
import os
import re

import pytest
import torch
from safetensors.torch import save_file

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError


@pytest.mark.parametrize("kind", ["bytes", "safetensors"])
def test_a_full_disk_is_one_error_and_keeps_the_previous_file(small_disk, kind) -> None:
    disk, _ = small_disk
    file = disk / "head.safetensors"
    with atomic_write(file) as part:
        save_file({"x": torch.zeros(1000)}, part)
    before = file.read_bytes()

    def write_too_much() -> None:
        with atomic_write(file, fix="free room") as part:
            if kind == "bytes":
                part.write_bytes(b"x" * 2**21)
            else:
                save_file({"x": torch.zeros(2**19)}, part)

    with pytest.raises(UserError, match=re.escape(str(file))) as caught:
        write_too_much()
    assert os.strerror(errno.ENOSPC) in caught.value.what
    assert caught.value.fix == "free room"
    assert file.read_bytes() == before
    assert list(disk.iterdir()) == [file]


def test_a_name_that_is_too_long_is_one_error(tmp_path) -> None:
    with pytest.raises(UserError, match="x" * 255), atomic_write(tmp_path / ("x" * 255)) as part:
        part.write_text("")


def test_two_writers_of_one_file_have_separate_temporary_files(tmp_path) -> None:
    with atomic_write(tmp_path / "a", part="b.part") as first, atomic_write(tmp_path / "a", part="c.part") as second:
        first.write_text("one")
        second.write_text("two")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "one"}
