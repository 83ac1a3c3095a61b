"""Read only the blocks that are wanted from a transformer's safetensors files.

Maps of FLUX.1's double blocks need 6.45 of its 11.9 billion parameters. The model is built on the meta device, the
blocks after the last wanted layer are cut off, and the tensors of what is left are read shard by shard:

    transformer_blocks.0 .. last     read
    blocks after the last layer      never touched
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel
from safetensors import SafetensorError, safe_open
from torch import nn

from ca_seg.errors import CorruptWeights, WeightsUnavailable

INDEX = "diffusion_pytorch_model.safetensors.index.json"
SINGLE = "diffusion_pytorch_model.safetensors"


def build_flux(config: dict[str, object], keep_layers: int | None) -> FluxTransformer2DModel:
    """A FLUX.1 transformer on the meta device, cut after `keep_layers` blocks (double first, then single)."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel.from_config(config)
    if keep_layers is not None:
        double = len(transformer.transformer_blocks)
        transformer.transformer_blocks = transformer.transformer_blocks[:keep_layers]
        transformer.single_transformer_blocks = transformer.single_transformer_blocks[: max(0, keep_layers - double)]
    return transformer


def read_into(model: nn.Module, folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> nn.Module:
    """Fill `model` (on the meta device) from the safetensors in `folder`; files' other tensors are not read.

    Raises WeightsUnavailable when a file is missing, CorruptWeights when one cannot be read, a tensor is missing or
    has another shape.
    """
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for file, names in _places(folder, wanted).items():
        state = {}
        try:
            with safe_open(file, framework="pt", device=str(device)) as shard:
                held = set(shard.keys())
                for name in names:
                    if name not in held:
                        raise CorruptWeights(f"{file} lacks the tensor {name}", fix="download it again")
                    state[name] = shard.get_tensor(name).to(dtype)
        except SafetensorError as problem:
            raise CorruptWeights(f"{file} cannot be read ({problem})", fix="download it again") from problem
        for name, tensor in state.items():
            if tensor.shape != wanted[name]:
                raise CorruptWeights(
                    f"{name} in {file} has shape {tuple(tensor.shape)}",
                    allowed=str(tuple(wanted[name])),
                    fix="these are the weights of another model",
                )
        model.load_state_dict(state, assign=True, strict=False)
    return model


def _places(folder: Path, wanted: dict[str, torch.Size]) -> dict[Path, list[str]]:
    """Which file holds which of the wanted tensors."""
    index, single = folder / INDEX, folder / SINGLE
    if single.exists():
        return {single: list(wanted)}
    if not index.exists():
        raise WeightsUnavailable(f"no weights in {folder}", allowed=f"{SINGLE}, or {INDEX} and its shards")
    where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    places: dict[Path, list[str]] = {}
    for name in wanted:
        if name not in where:
            raise CorruptWeights(f"{index} does not list the tensor {name}", fix="download it again")
        file = folder / where[name]
        if file.parent != folder or not file.exists():
            raise WeightsUnavailable(f"the shard {where[name]} named in {index} is not there", fix="download it again")
        places.setdefault(file, []).append(name)
    return places
