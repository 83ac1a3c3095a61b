"""Finding what comes with ca_seg."""

from __future__ import annotations

import pytest

from ca_seg import resources as module
from ca_seg.errors import BadDataset, UserError, WeightsUnavailable
from ca_seg.resources import resource_path


def test_the_installed_place_comes_first(tmp_path, monkeypatch) -> None:
    installed, source = tmp_path / "pkg" / "_shipped", tmp_path
    monkeypatch.setattr(module, "_ROOTS", (installed, source))
    (source / "datasets" / "scenes").mkdir(parents=True)
    assert resource_path("datasets", "scenes") == source / "datasets" / "scenes"
    (installed / "datasets" / "scenes").mkdir(parents=True)
    assert resource_path("datasets", "scenes") == installed / "datasets" / "scenes"


def test_what_is_missing_says_so() -> None:
    for error, folder in ((WeightsUnavailable, "checkpoints"), (BadDataset, "datasets"), (UserError, "configs")):
        with pytest.raises(error, match=f"{folder}/no_such_thing, which comes with ca_seg, is missing.*Install"):
            resource_path(folder, "no_such_thing")


@pytest.mark.parametrize("parts", [(), ("..", "x"), ("datasets", "../../x"), ("/etc",)])
def test_nothing_outside_is_found(parts) -> None:
    with pytest.raises(UserError, match="not the name of a shipped file"):
        resource_path(*parts)
