"""The settings that configs share. `None` means: as the backbone's card says."""

from __future__ import annotations

from dataclasses import dataclass

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.reading import Reading
from ca_seg.errors import UserError
from ca_seg.refine.views import Views


@dataclass
class BackboneSettings:
    """Which backbone, and how its maps are read.

    Args:
        backbone: a name from `ca-seg zoo list`
        weights: a local folder with the weights, in the diffusers layout
        gguf: a GGUF file of the transformer
        precision: fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8
        offload: none, or group (the transformer in main memory, block after block brought to the device)
        resolution: pixels of the short side
        layers: the joint attentions that maps read
        timesteps: noise levels, 0 (clean) to 1 (noise)
        samples: noise samples per picture and timestep
        space: output, cross-attention or value
        softmax: shares over the concepts (true) or raw products
        concept_attention: what concepts look at: both (concepts and image), cross, self or none
        image_output: stock, or concepts (as the method's reference code reads SD3)
        normalise: none, token or channel
        heads: read the heads apart and average their maps
        layer_weights: how much each layer counts; one number for each of `layers`
        flip: read the mirrored picture too, and take the mean
        phrase_pooling: which of a phrase's tokens stands for it: first, mean or last
        window: read overlapping windows of so many pixels, at the backbone's resolution each, and take the mean
        stride: pixels from window to window; by default half a window
        scales: read the picture at these scales of the backbone's resolution, and take the mean
        template: a sentence to put each phrase into, such as "a photo of a {}"
        synonyms: further phrases for a class
    """

    backbone: str = "mini"
    weights: str | None = None
    gguf: str | None = None
    precision: str | None = None
    offload: str = "none"
    resolution: int | None = None
    layers: list[int] | None = None
    timesteps: list[float] | None = None
    samples: int | None = None
    space: str | None = None
    softmax: bool = True
    concept_attention: str = "both"
    image_output: str = "stock"
    normalise: str = "none"
    heads: bool = False
    layer_weights: list[float] | None = None
    flip: bool = False
    window: int | None = None
    stride: int | None = None
    scales: list[float] | None = None
    phrase_pooling: str | None = None
    template: str = "{}"
    synonyms: dict[str, list[str]] | None = None

    def reading(self, *, queries: bool = False) -> Reading:
        """How its pictures are recorded, asked and read."""
        return Reading(
            None if self.layers is None else tuple(self.layers),
            None if self.timesteps is None else tuple(self.timesteps),
            self.samples,
            self.space,
            self.softmax,
            self.concept_attention,
            self.image_output,
            self.normalise,
            self.heads,
            queries,
            None if self.layer_weights is None else tuple(self.layer_weights),
            self.flip,
        )

    def views(self) -> Views | None:
        """Windows and scales; None for one look at the whole picture."""
        if self.window is None and self.scales is None:
            return None
        return Views(scales=tuple(self.scales or (1.0,)), window=self.window, stride=self.stride)

    def load(self, device: str) -> Backbone:
        """The backbone itself."""
        return load_backbone(
            self.backbone,
            weights=self.weights,
            gguf=self.gguf,
            device=device,
            precision=self.precision,
            offload=self.offload,
            resolution=self.resolution,
            phrase_pooling=self.phrase_pooling,
            last_layer=max(self.layers) if self.layers else None,
        )


@dataclass
class MethodSettings(BackboneSettings):
    """The evaluated method: a backbone's zero-shot maps, or a head trained on its features.

    Args:
        head: a folder that train.py wrote (OUT/head), one of checkpoints/heads, or a repository of the hub
    """

    head: str | None = None

    def check(self) -> None:
        """Raises UserError for what maps have and heads do not."""
        for name in ("flip", "window", "scales", "layers", "timesteps", "space"):
            if self.head and getattr(self, name):
                raise UserError(f"--model.{name} beside --model.head", fix="a head is read as it was trained")


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
