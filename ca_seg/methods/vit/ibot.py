"""iBOT: self-supervised by masked image modelling; the class token's attention in the last block.

Its weights are on no hub: the authors' file is downloaded by hand, and its tensors have the names of timm's.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from ca_seg.errors import CorruptWeights, UserError, WeightsUnavailable
from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.last_attention import last_attention_of, open_last_attention
from ca_seg.methods.vit.network import VisionNetwork

CARD = MethodCard(
    name="ibot",
    summary="iBOT, self-supervised by masked image modelling; the class token's attention in the last block.",
    paper="Zhou et al. 2022, iBOT: Image BERT Pre-Training with Online Tokenizer (arXiv 2111.07832)",
    kind="self-supervised ViT",
    words="none",
    takes="model",
    weights=(
        Weights(
            "bytedance/ibot", "Apache-2.0", file="checkpoint_teacher.pth", page="https://github.com/bytedance/ibot"
        ),
    ),
    options=("resolution", "weights"),
)
RESOLUTION = 480  # pixels of the short side, as in the authors' script for attention maps
HEAD_SIZE = 64  # channels of an attention head, in every network of the paper
UNREADABLE = (
    *(OSError, EOFError, UnpicklingError, RuntimeError),
    *(ValueError, TypeError, LookupError, AttributeError),
)
NOT_READ = ("head.", "masked_embed")  # the projection head and the mask token of the training


def open_predictor(inputs: MethodInputs) -> ForegroundPredictor:
    """On the given timm VisionTransformer, or on the file `weights` of the authors. Raises WeightsUnavailable."""
    if inputs.model is not None:
        if inputs.weights is not None:
            raise UserError("model and weights are both given", allowed="one of them")
        return open_last_attention(CARD, inputs)
    if inputs.weights is None:
        weights = CARD.weights[0]
        raise WeightsUnavailable(
            f"the weights of ibot ({weights}, licence {weights.licence}) are on no hub",
            fix=f"download {weights.file} of ViT-S/16 or ViT-B/16 from {weights.page} and give weights=FILE, or a "
            "ready object: ca_seg.method('ibot', model=...)",
        )
    model = read_ibot(Path(inputs.weights))
    resolution = inputs.resolution or RESOLUTION
    return last_attention_of(VisionNetwork(model, CARD.name, device=inputs.device, resolution=resolution), CARD)


def read_ibot(file: Path) -> nn.Module:
    """The network of a published checkpoint, whose size is that of its tensors.

    Raises:
        WeightsUnavailable: for a missing file
        CorruptWeights: for a file that holds no vision transformer of iBOT
    """
    if not file.is_file():
        raise WeightsUnavailable(f"{file} is missing")
    try:
        if tarfile.is_tarfile(file):  # PyTorch would unpack it into a folder of its own
            raise ValueError("it is a tar file, which torch.save does not write")
        content = torch.load(file, map_location="cpu", weights_only=True)
        state = _backbone(content)
        model = _network(state)
        model.load_state_dict(state)
    except UNREADABLE as problem:
        reason = (str(problem).splitlines() or [""])[0]
        raise CorruptWeights(
            f"{file} holds no vision transformer of iBOT ({reason})",
            allowed=f"{CARD.weights[0].file} of ViT-S or ViT-B",
        ) from problem
    return model.eval()


def _backbone(content: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of the backbone, which a full checkpoint has under "teacher" and with prefixes."""
    state: Mapping[str, Tensor] = content.get("teacher") or content.get("state_dict") or content  # type: ignore[assignment]
    named = {name.replace("module.", "").replace("backbone.", ""): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(NOT_READ)}


def _network(state: Mapping[str, Tensor]) -> nn.Module:
    """The network of these tensors, with random weights."""
    from timm.models.vision_transformer import VisionTransformer  # here, so that cards are listed without timm

    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    return VisionTransformer(
        img_size=patch * round((state["pos_embed"].shape[1] - 1) ** 0.5),
        patch_size=patch,
        embed_dim=width,
        depth=1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        num_heads=width // HEAD_SIZE,
        num_classes=0,
        dynamic_img_size=True,
    )
