"""The precision of a transformer's weights: plain floats, or quantised by a library through diffusers.

    fp32 bf16 fp16                       plain
    bnb-nf4 bnb-int8                     bitsandbytes
    ao-int8 ao-fp8                       torchao, weights only
    FILE.gguf (see `read_gguf`)          GGUF, through diffusers' single-file loading

For quantised weights, too, only the wanted blocks are read. Each tensor is quantised as it is read. Activations are
bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.registry import diffusers_class
from ca_seg.backbones.loading.partial import read_into, wanted_tensors
from ca_seg.errors import CorruptWeights, UnknownName, UserError, WeightsUnavailable

DAMAGED_GGUF = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    RuntimeError,
)  # of its reader
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Profile:
    """One precision. `linear_bytes` is the size of a weight in a linear layer, including the scales."""

    name: str
    dtype: torch.dtype  # of activations, and of all weights that are not quantised
    library: str = ""  # the package that quantises; "" for plain floats
    linear_bytes: float = 0.0

    @property
    def quantised(self) -> bool:
        return bool(self.library)


# NF4: 4 bits and a 32-bit scale per 64 weights (bitsandbytes' block size). int8, fp8: a scale per row, not counted
PROFILES = {
    profile.name: profile
    for profile in (
        *(Profile(name, dtype, linear_bytes=dtype.itemsize) for name, dtype in DTYPES.items()),
        Profile("bnb-nf4", torch.bfloat16, "bitsandbytes", 0.5 + 4 / 64),
        Profile("bnb-int8", torch.bfloat16, "bitsandbytes", 1.0),
        Profile("ao-int8", torch.bfloat16, "torchao", 1.0),
        Profile("ao-fp8", torch.bfloat16, "torchao", 1.0),
    )
}


def cpu_computes_bf16() -> bool:
    """Whether this CPU has tiles for products of bfloat16 matrices (AMX), and so is about twice as fast in bf16.

    AVX512-BF16 alone is not enough: torch was 1.8 times slower in bf16 on such a CPU. False where torch is too old to
    tell.
    """
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return probe is not None and probe()


def find_profile(name: str) -> Profile:
    """The precision called `name`. Raises UnknownName."""
    if name not in PROFILES:
        raise UnknownName("precision", name, PROFILES)
    return PROFILES[name]


def read_quantised(model: nn.Module, folder: Path, profile: Profile, device: str) -> nn.Module:
    """Fill `model` (on the meta device) from `folder`, quantising linear layers. Errors as in `partial.read_into`.

    Raises UserError if the library of the profile is not installed.
    """
    if not profile.quantised:
        return read_into(model, folder, profile.dtype, device)
    return quantised(model, wanted_tensors(model, folder, profile.dtype, "cpu"), profile, device)


def quantised(model: nn.Module, states: Iterable[dict[str, torch.Tensor]], profile: Profile, device: str) -> nn.Module:
    """Fill `model` (on the meta device), quantising linear layers; `states` has its tensors, some at a time.

    Raises UserError if the library of the profile is not installed.
    """
    from diffusers.models.model_loading_utils import load_model_dict_into_meta
    from diffusers.quantizers import DiffusersAutoQuantizer  # here: it imports the quantising libraries

    quantizer = DiffusersAutoQuantizer.from_config(_config(profile), pre_quantized=False)
    device_map: Any = {"": device}
    if profile.library == "torchao" or device != "cpu":  # bitsandbytes runs on a CPU, though diffusers' check says no
        quantizer.validate_environment(torch_dtype=profile.dtype)
    quantizer.update_torch_dtype(profile.dtype)
    quantizer.preprocess_model(model=model, device_map=device_map, keep_in_fp32_modules=[])
    state: Any
    for state in states:
        load_model_dict_into_meta(model, state, dtype=profile.dtype, hf_quantizer=quantizer, device_map=device_map)
    quantizer.postprocess_model(model)
    _keep_packing(model)
    model.hf_quantizer = quantizer
    return model.to(device)


def _keep_packing(model: nn.Module) -> None:
    """On a CPU with AVX512-BF16 the first call of bitsandbytes' 4-bit layers would pack their weights anew.

    That fails for layers with sides that are no multiples of 64 and 32, such as the first one of `photo`.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - mypy takes the attribute for a module


def read_gguf(family: Family, file: Path, folder: Path, dtype: torch.dtype) -> nn.Module:
    """A transformer from a GGUF file, by diffusers; its architecture is in `folder`/transformer/config.json.

    Raises WeightsUnavailable for a missing file, CorruptWeights for one that cannot be read, UserError if the GGUF
    library is not installed.
    """
    if not file.is_file():
        raise WeightsUnavailable(f"no file {file}", fix="give a .gguf file of the transformer")
    if find_spec("gguf") is None:
        raise UserError(f"{file} cannot be read without gguf", fix="pip install gguf")
    try:
        from diffusers import GGUFQuantizationConfig

        return diffusers_class(family, family.transformer).from_single_file(
            str(file),
            config=str(folder),
            subfolder="transformer",
            quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
            torch_dtype=dtype,
        )
    except ImportError as problem:
        raise UserError(f"{file} cannot be used ({problem})", fix="pip install gguf") from problem
    except DAMAGED_GGUF as problem:
        reason = (str(problem).splitlines() or [repr(problem)])[0]
        raise CorruptWeights(f"{file} cannot be read ({reason})", fix="download it again") from problem


def offloaded(transformer: nn.Module, device: str) -> nn.Module:
    """The transformer in main memory; diffusers moves its blocks to `device` one after the other."""
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(transformer, torch.device(device), offload_type="block_level", num_blocks_per_group=1)
    return transformer


def _config(profile: Profile) -> Any:
    try:
        return _CONFIGS[profile.name](profile.dtype)
    except ImportError as problem:
        raise UserError(
            f"the precision {profile.name} needs {profile.library} ({problem})", fix=f"pip install {profile.library}"
        ) from problem


def _nf4(dtype: torch.dtype) -> Any:
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _int8(dtype: torch.dtype) -> Any:
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def _ao_int8(dtype: torch.dtype) -> Any:
    from diffusers import TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _ao_fp8(dtype: torch.dtype) -> Any:
    from diffusers import TorchAoConfig
    from torchao.quantization import Float8WeightOnlyConfig

    return TorchAoConfig(Float8WeightOnlyConfig())


_CONFIGS = {"bnb-nf4": _nf4, "bnb-int8": _int8, "ao-int8": _ao_int8, "ao-fp8": _ao_fp8}
