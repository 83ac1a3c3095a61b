"""Frozen backbones as encoders of segmentation_models_pytorch (SMP): importing this module registers every card.

    import ca_seg.adapters.smp
    import segmentation_models_pytorch as smp

    smp.create_model("unet", encoder_name="ca-mini", encoder_weights=None, classes=21)
    smp.create_model("dpt", encoder_name="tu-ca-mini", encoder_weights=None, decoder_readout="ignore", classes=21)

There is an encoder `ca-<card>` for each card; its backbone is loaded when a model is built. `encoder_weights` must be
None: the frozen weights are the card's. Images are RGB in 0..1, not normalised; `smp.encoders.get_preprocessing_params`
says so for these names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from segmentation_models_pytorch import encoders as smp_encoders

from ca_seg.adapters.dpt import register_for_dpt
from ca_seg.adapters.encoder import MAX_DEPTH, FrozenEncoder, check_shape
from ca_seg.adapters.frozen import encoder_features
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import list_backbones
from ca_seg.errors import UserError
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.vocabulary import Words

PREFIX = "ca-"
WIDTH = 128  # channels of every map of the pyramid
NOT_NORMALISED = {"input_space": "RGB", "input_range": [0, 1], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def register(name: str, *, backbone: str | Backbone, vocabulary: Words | None = None, width: int = WIDTH) -> None:
    """Make `name` an encoder of SMP, and "tu-" + `name` (dots as underscores) one of its DPT.

    A saved model contains only the name: register the same encoder before you load it.

    Args:
        name: what `encoder_name` will be
        backbone: a card's name, loaded anew for each model; or a loaded Backbone (on any device, in any precision, of
            any resolution), shared by all models
        vocabulary: words: the encoder then reads concept-projected features (layers x phrases channels); None: the
            image's attention outputs
        width: channels of every map of the pyramid

    Raises:
        UserError: SMP has another encoder of that name

    Example:
        >>> register("ca-animals", backbone="mini", vocabulary=["cat", "dog", "grass"])
        >>> smp.create_model("unet", encoder_name="ca-animals", encoder_weights=None, classes=3)
    """
    taken = name in smp_encoders.encoders and name not in _REGISTERED
    if taken or not name or name.startswith(("tu-", "timm-", "mit_b", "vgg")):
        raise UserError(f"SMP reads {name!r} as one of its encoders", allowed=f"another name, as {PREFIX + name!r}")
    source = partial(_features, backbone, vocabulary)
    smp_encoders.encoders[name] = {
        "encoder": partial(_build, source, width),
        "pretrained_settings": {None: {}},  # the weights that SMP lists when others are asked for
        "params": {},
    }
    _REGISTERED.update((name, register_for_dpt(name, source)))


def _features(backbone: str | Backbone, vocabulary: Words | None) -> FrozenFeatures:
    return encoder_features(load_backbone(backbone) if isinstance(backbone, str) else backbone, vocabulary)


def _build(source: Callable[[], FrozenFeatures], width: int, depth: int = MAX_DEPTH, output_stride: int = 32) -> Any:
    check_shape(depth, output_stride)
    return FrozenEncoder(source(), width=width, depth=depth, output_stride=output_stride)


def _with_ours(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """SMP reads these parameters from a file on the hub; there is nowhere to register others."""

    @wraps(original)
    def get_preprocessing_params(encoder_name: str, pretrained: str | None = "imagenet") -> dict[str, Any]:
        if encoder_name in _REGISTERED:
            return {key: list(value) if isinstance(value, list) else value for key, value in NOT_NORMALISED.items()}
        return original(encoder_name, pretrained=pretrained)

    return get_preprocessing_params


_REGISTERED: set[str] = set()
for _card in list_backbones():
    register(PREFIX + _card, backbone=_card)
smp_encoders.get_preprocessing_params = _with_ours(smp_encoders.get_preprocessing_params)
