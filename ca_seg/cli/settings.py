"""The settings that configs share. `None` means: as the backbone's card says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class BackboneSettings:
    """Which backbone, and how its maps are read.

    Args:
        backbone: a name from `ca-seg zoo list`
        weights: a local folder with the weights, in the diffusers layout
        precision: fp32, bf16 or fp16
        resolution: pixels of the short side
        layers: the joint attentions that maps read
        timesteps: noise levels, 0 (clean) to 1 (noise)
        samples: noise samples per picture and timestep
        space: output, cross-attention or value
        softmax: shares over the concepts (true) or raw products
        synonyms: further phrases for a class
    """

    backbone: str = "mini"
    weights: str | None = None
    precision: str | None = None
    resolution: int | None = None
    layers: list[int] | None = None
    timesteps: list[float] | None = None
    samples: int | None = None
    space: str | None = None
    softmax: bool = True
    synonyms: dict[str, list[str]] | None = None


@dataclass
class DataSettings:
    """Which pictures.

    Args:
        name: a name from `ca-seg data list`
        root: the folder, for datasets that do not ship
        splits: parts of the dataset, each scored on its own; the first gives the headline. None: all as one
        batch_size: pictures per batch
        num_workers: processes that read pictures; 0: this one
        limit: only the first pictures of each split
    """

    name: str = "scenes"
    root: str | None = None
    splits: list[str] | None = None
    batch_size: int = 8
    num_workers: int = 0
    limit: int | None = None
