"""Read only the wanted blocks from a transformer's safetensors files.

Maps of FLUX.1's double blocks need 6.45 of its 11.9 billion parameters. The model is built without memory for its
parameters, the blocks after the last wanted layer are removed, and the remaining tensors are read shard by shard:

    transformer_blocks.0 .. last     read
    blocks after the last layer      not read
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import nn

from ca_seg.backbones.families.base import Family, SkippedBlock
from ca_seg.backbones.families.registry import diffusers_class
from ca_seg.bounded_files import read_json
from ca_seg.errors import CorruptWeights, OutOfRange, WeightsUnavailable

INDEX = "diffusion_pytorch_model.safetensors.index.json"
SINGLE = "diffusion_pytorch_model.safetensors"


def build(family: Family, config: dict[str, Any], keep_layers: int | None = None, *, tables: bool = True) -> nn.Module:
    """The family's transformer with its parameters on the meta device, and only its first `keep_layers` blocks.

    Tables that are computed and not read (positions, frequencies) are real. With `tables=False` they are on the meta
    device too, which is faster, and enough to count parameters. Raises OutOfRange, CorruptWeights.
    """
    with init_empty_weights(include_buffers=False) if tables else torch.device("meta"):
        transformer = described(diffusers_class(family, family.transformer), config)
    return transformer if keep_layers is None else skip_later_blocks(family, transformer, keep_layers)


def described(kind: Any, config: dict[str, Any]) -> Any:
    """What a config describes, of the class `kind` of diffusers. Raises CorruptWeights for values of no such one."""
    try:
        return kind.from_config(config)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise CorruptWeights(
            f"the config describes no {kind.__name__} ({reason})", fix="download it again"
        ) from problem


def skip_later_blocks(family: Family, transformer: nn.Module, keep_layers: int) -> nn.Module:
    """`transformer` with a `SkippedBlock` instead of every block after the first `keep_layers`. Raises OutOfRange."""
    total = len(family.blocks(transformer))
    if not 1 <= keep_layers <= total:
        raise OutOfRange(
            f"last_layer {keep_layers - 1} of a transformer with {total} blocks",
            allowed=f"0 to {total - 1}",
            fix="give the weights of the named backbone, or layers that these have",
        )
    number = 0
    for name in family.block_lists:
        blocks = getattr(transformer, name)
        for index in range(len(blocks)):
            if number >= keep_layers:
                blocks[index] = SkippedBlock()
            number += 1
    return transformer


def read_into(model: nn.Module, folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> nn.Module:
    """Fill `model` (on the meta device) from the safetensors in `folder`; other tensors in the files are not read.

    Raises WeightsUnavailable for a missing file, CorruptWeights for a file that cannot be read, a missing tensor, one
    of another shape, and one with NaN or infinity.
    """
    for state in wanted_tensors(model, folder, dtype, device):
        model.load_state_dict(state, assign=True, strict=False)
    return model.to(device)


def wanted_tensors(
    model: nn.Module, folder: Path, dtype: torch.dtype, device: torch.device | str
) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors of `model`'s state dict, shard by shard, with their shapes checked. Errors as in `read_into`."""
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for file, names in _files(folder, wanted).items():
        state = {}
        try:
            with safe_open(file, framework="pt", device=str(device)) as shard:
                stored = set(shard.keys())
                for name in names:
                    if name not in stored:
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
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                fix = "give whole weights" if dtype != torch.float16 else "give whole weights, or bf16 or fp32"
                raise CorruptWeights(f"{name} in {file} holds NaN or infinity (as {dtype})", fix=fix)
        yield state


def _files(folder: Path, wanted: dict[str, torch.Size]) -> dict[Path, list[str]]:
    """The wanted tensors of every file."""
    index, single = folder / INDEX, folder / SINGLE
    if single.exists():
        return {single: list(wanted)}
    if not index.exists():
        raise WeightsUnavailable(f"no weights in {folder}", allowed=f"{SINGLE}, or {INDEX} and its shards")
    try:
        shards = read_json(index)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CorruptWeights(f"{index} is not an index of shards ({problem})", fix="download it again") from problem
    files: dict[Path, list[str]] = {}
    for name in wanted:
        if name not in shards:
            raise CorruptWeights(f"{index} does not list the tensor {name}", fix="download it again")
        file = folder / shards[name]
        if file.parent != folder or not file.exists():
            raise WeightsUnavailable(f"the shard {shards[name]} named in {index} is not there", fix="download it again")
        files.setdefault(file, []).append(name)
    return files
