"""docs/smp.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import segmentation_models_pytorch as smp
import torch

PAGE = Path(__file__).parents[2] / "docs" / "smp.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    told: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), told)
    smp.encoders.encoders.pop("pets")
    assert told["loss"].isfinite()
    assert told["masks"].shape == told["batch"]["mask"].shape
    kept = (tmp_path / "unet-on-mini" / "model.safetensors").stat().st_size
    assert 9e6 < kept < 11e6  # as the page says
    assert told["model"](torch.rand(2, 3, 192, 256)).shape == (2, 2, 192, 256)
    assert told["head"](told["features"], (128, 128)).shape == (len(told["features"]), 4, 128, 128)
