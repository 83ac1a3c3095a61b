"""ca_seg in detectron2: a backbone and a pyramid by config, datasets by name (docs/detectron2.md).

    from ca_seg.adapters.detectron2.config import add_ca_seg_config, register

    cfg = get_cfg()
    add_ca_seg_config(cfg)                              # the keys under MODEL.CA_SEG
    cfg.MODEL.BACKBONE.NAME = "build_ca_seg_pyramid"    # or build_ca_seg_backbone

Importing this file is what puts both builders into BACKBONE_REGISTRY, as detectron2's own do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ca_seg.errors import OutOfRange, UserError

try:
    from detectron2.config import CfgNode
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY
except ImportError as problem:
    raise UserError(
        f"the adapter needs detectron2 ({problem})", fix="see docs/detectron2.md for how to install it"
    ) from problem

from ca_seg.adapters.detectron2.backbone import FrozenBackbone, FrozenPyramid
from ca_seg.adapters.detectron2.data import register
from ca_seg.adapters.normalised import Normalised
from ca_seg.backbones.backbone import MORE_LAYERS, Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import check_timestep
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.vocabulary import Vocabulary

__all__ = ["add_ca_seg_config", "build_ca_seg_backbone", "build_ca_seg_pyramid", "register"]


def add_ca_seg_config(cfg: CfgNode) -> None:
    """Add MODEL.CA_SEG with its defaults. Empty ("", [], 0) means: as the backbone's card says."""
    own = CfgNode()
    own.BACKBONE = "mini"  # a name from `ca-seg zoo list`
    own.WEIGHTS = ""  # a local folder with the weights, in the diffusers layout
    own.PRECISION = ""  # fp32, bf16, fp16, bnb-nf4 ...
    own.RESOLUTION = 0  # pixels of the short side at which an image is recorded
    own.LAYERS = []  # joint attentions, such as [2, 3]
    own.TIMESTEPS = []  # noise levels, 0 (clean) to 1 (noise); several stand side by side
    own.SAMPLES = 0  # noise samples per timestep, averaged
    own.SEED = 0  # of the noise
    own.PARTS = ["outputs"]  # pixels, outputs (of the image), concepts (products with the words), maps (of classes)
    own.CONCEPTS = []  # the words for concepts and maps
    own.NORMALISE = "channel"  # against massive activations: none, token or channel
    own.STRIDE = 0  # pixels per cell of the feature map; by default pixels per image token
    own.PYRAMID_CHANNELS = 256
    own.PYRAMID_NORM = "LN"
    cfg.MODEL.CA_SEG = own


@BACKBONE_REGISTRY.register()
def build_ca_seg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FrozenBackbone:
    """MODEL.CA_SEG as one map, "tokens"; nothing in it learns.

    INPUT.FORMAT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD are read here and undone at every batch. The transformer is
    loaded to MODEL.DEVICE. Raises UnknownName for an unknown backbone, part, normalisation or precision, UserError for
    a word that the backbone does not know, OutOfRange for layers, timesteps or means (see `Normalised`), and whatever
    `load_backbone` raises.
    """
    own = cfg.MODEL.CA_SEG
    normalised = Normalised(cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    layers = _numbers("LAYERS", own.LAYERS, int)
    times = tuple(float(time) for time in _numbers("TIMESTEPS", own.TIMESTEPS, (int, float)))
    for time in times:
        check_timestep(time)
    readout = ReadoutConfig(layers or None, times or None, own.SAMPLES or None, normalise=own.NORMALISE)
    backbone = load_backbone(
        own.BACKBONE,
        weights=own.WEIGHTS or None,
        device=cfg.MODEL.DEVICE,
        precision=own.PRECISION or None,
        resolution=own.RESOLUTION or None,
        last_layer=max(layers, default=None),
    )
    _check_layers(backbone, layers)
    words = Vocabulary.from_names(own.CONCEPTS) if own.CONCEPTS else None
    if words is not None:  # a word that the backbone does not know is told now, not in the first batch
        backbone.text.concepts(words.concepts, backbone.card.phrase_pooling)
    source = FrozenFeatures(backbone, words, parts=own.PARTS, readout=readout)
    return FrozenBackbone(source, normalised, stride=own.STRIDE or source.stride, seed=own.SEED)


@BACKBONE_REGISTRY.register()
def build_ca_seg_pyramid(cfg: CfgNode, input_shape: ShapeSpec) -> FrozenPyramid:
    """`build_ca_seg_backbone` with a pyramid p2, p3, p4, p5 on it, which learns."""
    own = cfg.MODEL.CA_SEG
    net = build_ca_seg_backbone(cfg, input_shape)
    return FrozenPyramid(net, channels=own.PYRAMID_CHANNELS, norm=own.PYRAMID_NORM)


def _numbers(key: str, values: Sequence[Any], kind: type | tuple[type, ...]) -> tuple[Any, ...]:
    """detectron2's config checks that a key is a list, and not what is in it."""
    if any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
        raise OutOfRange(f"MODEL.CA_SEG.{key} {values!r}", allowed="a list of numbers", fix='such as "[2, 3]"')
    return tuple(values)


def _check_layers(backbone: Backbone, layers: Sequence[int]) -> None:
    """Before a run, and not at its first image."""
    if layers and not 0 <= min(layers) <= max(layers) < backbone.layers:
        raise OutOfRange(
            f"layers {list(layers)} of {backbone.card.name}",
            allowed=f"0 to {backbone.layers - 1}",
            fix=MORE_LAYERS,
        )
