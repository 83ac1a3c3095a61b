"""Finding the files that ca_seg ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ca_seg import resources as module
from ca_seg.errors import BadDataset, UserError, WeightsUnavailable
from ca_seg.resources import resource_path


def test_installed_files_come_first(tmp_path, monkeypatch) -> None:
    installed, source = tmp_path / "pkg" / "_shipped", tmp_path
    monkeypatch.setattr(module, "_ROOTS", (installed, source))
    (source / "datasets" / "scenes").mkdir(parents=True)
    assert resource_path("datasets", "scenes") == source / "datasets" / "scenes"
    (installed / "datasets" / "scenes").mkdir(parents=True)
    assert resource_path("datasets", "scenes") == installed / "datasets" / "scenes"


def test_a_missing_file_is_named() -> None:
    for error, folder in ((WeightsUnavailable, "checkpoints"), (BadDataset, "datasets"), (UserError, "configs")):
        with pytest.raises(error, match=f"{folder}/no_such_thing") as caught:
            resource_path(folder, "no_such_thing")
        assert caught.value.fix


@pytest.mark.parametrize("parts", [(), ("..", "x"), ("datasets", "../../x"), ("/etc",)])
def test_paths_out_of_the_shipped_files_are_refused(parts) -> None:
    with pytest.raises(UserError, match=re.escape(repr(str(Path(*parts))))):
        resource_path(*parts)
