"""Files that are whole or not there, also on a disk that is full."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError


@pytest.mark.parametrize("kind", ["bytes", "safetensors"])
def test_a_full_disk_is_one_clear_error_and_the_old_file_stays(small_disk, kind) -> None:
    place, _ = small_disk
    file = place / "head.safetensors"
    with atomic_write(file) as part:
        save_file({"x": torch.zeros(1000)}, part)
    before = file.read_bytes()

    def too_much() -> None:
        with atomic_write(file, fix="free room") as part:
            if kind == "bytes":
                part.write_bytes(b"x" * 2**21)
            else:
                save_file({"x": torch.zeros(2**19)}, part)

    expected = rf"^{re.escape(str(file))} cannot be written .*No space left.*\. Free room\.$"
    with pytest.raises(UserError, match=expected):
        too_much()
    assert file.read_bytes() == before
    assert list(place.iterdir()) == [file]


def test_the_name_until_it_is_whole(tmp_path) -> None:
    with atomic_write(tmp_path / "a", part="b.part") as one, atomic_write(tmp_path / "a", part="c.part") as two:
        one.write_text("one")
        two.write_text("two")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "one"}
