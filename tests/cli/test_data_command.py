"""`ca-seg data path`. (`data list` is in tests/data/test_catalogue.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from ca_seg.cli.main import main
from ca_seg.data.benchmarks.voc import HOW_TO_GET


def test_the_path_of_a_shipped_dataset(capsys):
    assert main(["data", "path", "scenes"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "classes.json").is_file()


@pytest.mark.parametrize(("name", "value"), [("voc20", HOW_TO_GET), ("scene", "scenes")])
def test_a_dataset_without_a_path_is_one_line(name, value, capsys):
    assert main(["data", "path", name]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert value in printed.err
