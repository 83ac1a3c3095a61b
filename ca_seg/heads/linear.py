"""The linear probe: batch norm, dropout and one 1 x 1 convolution on frozen features (DINOv2's protocol)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ca_seg.errors import CorruptWeights, WeightsUnavailable
from ca_seg.written import written


class LinearHead(nn.Module):
    """Features [B, channels, h, w] to class logits [B, classes, h, w]."""

    def __init__(self, channels: int, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.channels, self.classes, self.dropout = channels, classes, dropout
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels), nn.Dropout2d(dropout), nn.Conv2d(channels, classes, kernel_size=1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)

    def save(self, folder: Path, *, backbone: str, class_names: tuple[str, ...]) -> None:
        """`head.safetensors` and `head.json` in `folder`; the backbone is only named."""
        with written(folder / "head.safetensors") as part:
            save_file(self.state_dict(), part)
        about = {
            "kind": "linear",
            "channels": self.channels,
            "classes": list(class_names),
            "dropout": self.dropout,
            "backbone": backbone,
        }
        with written(folder / "head.json") as part:
            part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, backbone: str) -> LinearHead:
        """Raises WeightsUnavailable when a file is missing, CorruptWeights for a head of another backbone."""
        for name in ("head.json", "head.safetensors"):
            if not (folder / name).exists():
                raise WeightsUnavailable(f"no {folder / name}", fix="train one with train.py")
        about = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        if about["backbone"] != backbone:
            raise CorruptWeights(f"the head in {folder} was trained on {about['backbone']!r}, not on {backbone!r}")
        head = cls(about["channels"], len(about["classes"]), dropout=about["dropout"])
        try:
            head.load_state_dict(load_file(folder / "head.safetensors"))
        except (SafetensorError, RuntimeError) as problem:
            raise CorruptWeights(f"{folder / 'head.safetensors'} cannot be read ({problem})") from problem
        return head.eval()
