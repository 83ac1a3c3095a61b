"""The keys under MODEL.CA_SEG, and the two builders that read them: one map, or a pyramid on it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY

from ca_seg.adapters.detectron2.backbone import FrozenBackbone, FrozenPyramid
from ca_seg.adapters.normalised import Normalised
from ca_seg.backbones.backbone import MORE_LAYERS, Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import check_timestep
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import OutOfRange
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.predictors.settings import PHOTOGRAPHS


def add_ca_seg_config(cfg: CfgNode) -> None:
    """Add MODEL.CA_SEG with its defaults to a config. Empty ("", [], 0) means: as the backbone's card says."""
    node = CfgNode()
    node.BACKBONE = PHOTOGRAPHS  # a name from `ca-seg zoo list`
    node.WEIGHTS = ""  # a local folder with the weights, in the diffusers layout
    node.PRECISION = ""  # fp32, bf16, fp16, bnb-nf4 ...
    node.RESOLUTION = 0  # pixels of the short side at which an image is recorded
    node.LAYERS = []  # joint attentions, such as [2, 3]
    node.TIMESTEPS = []  # noise levels, 0 (clean) to 1 (noise); features of several are concatenated
    node.NOISE_SAMPLES = 0  # noise samples per timestep, averaged
    node.SAMPLES = 0  # the former name of NOISE_SAMPLES
    node.SEED = 0  # of the noise
    node.PARTS = ["outputs"]  # pixels, latents, outputs (of the image), concepts (outputs times words), contrasts, maps
    node.CONCEPTS = []  # the words for concepts and maps
    node.NORMALISE = "channel"  # against massive activations: none, token or channel
    node.STRIDE = 0  # pixels per cell of the feature map; by default pixels per image token
    node.PYRAMID_CHANNELS = 256
    node.PYRAMID_NORM = "LN"
    cfg.MODEL.CA_SEG = node


@BACKBONE_REGISTRY.register()
def build_ca_seg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FrozenBackbone:
    """The backbone of MODEL.CA_SEG as one map, "tokens"; nothing in it learns.

    INPUT.FORMAT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD are read when it is built and undone at every batch. The
    transformer is loaded to MODEL.DEVICE.

    Raises:
        UnknownName: for an unknown backbone, part, normalisation or precision
        OutOfRange: for layers, timesteps or means (see `Normalised`)
        UserError: for a word that the backbone does not know, and whatever `load_backbone` raises
    """
    keys = cfg.MODEL.CA_SEG
    normalised = Normalised(cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    layers = _numbers("LAYERS", keys.LAYERS, int)
    times = tuple(float(time) for time in _numbers("TIMESTEPS", keys.TIMESTEPS, (int, float)))
    for time in times:
        check_timestep(time)
    readout = ReadoutConfig(
        layers=layers or None, timesteps=times or None, noise_samples=_noise_samples(keys), normalise=keys.NORMALISE
    )
    backbone = load_backbone(
        keys.BACKBONE,
        weights=keys.WEIGHTS or None,
        device=cfg.MODEL.DEVICE,
        precision=keys.PRECISION or None,
        resolution=keys.RESOLUTION or None,
        last_layer=max(layers, default=None),
    )
    _check_layers(backbone, layers)
    source = FrozenFeatures(backbone, keys.CONCEPTS or None, parts=keys.PARTS, readout=readout)
    source.check_words()
    return FrozenBackbone(source, normalised, stride=keys.STRIDE or source.stride, seed=keys.SEED)


@BACKBONE_REGISTRY.register()
def build_ca_seg_pyramid(cfg: CfgNode, input_shape: ShapeSpec) -> FrozenPyramid:
    """`build_ca_seg_backbone` with a pyramid p2, p3, p4, p5 on it, which learns."""
    net = build_ca_seg_backbone(cfg, input_shape)
    return FrozenPyramid(net, channels=cfg.MODEL.CA_SEG.PYRAMID_CHANNELS, norm=cfg.MODEL.CA_SEG.PYRAMID_NORM)


def _noise_samples(keys: CfgNode) -> int | None:
    """None: as the card says."""
    if not keys.SAMPLES:
        return keys.NOISE_SAMPLES or None
    warnings.warn("MODEL.CA_SEG.SAMPLES is now called NOISE_SAMPLES", FutureWarning, stacklevel=3)
    return keys.NOISE_SAMPLES or keys.SAMPLES


def _numbers(key: str, values: Sequence[Any], kind: type | tuple[type, ...]) -> tuple[Any, ...]:
    """The elements of a list; detectron2's config checks only that a key is a list."""
    if any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
        raise OutOfRange(f"MODEL.CA_SEG.{key} {values!r}", allowed="a list of numbers", fix='such as "[2, 3]"')
    return tuple(values)


def _check_layers(backbone: Backbone, layers: Sequence[int]) -> None:
    """So that a wrong layer is an error when the model is built and not at the first image."""
    if layers and not 0 <= min(layers) <= max(layers) < backbone.layers:
        raise OutOfRange(
            f"layers {list(layers)} of {backbone.card.name}",
            allowed=f"0 to {backbone.layers - 1}",
            fix=MORE_LAYERS,
        )
