"""The folder of a saved head, checked before a head is made of it.

    DIR/config.json         the arguments of `TrainedHead`: their names, types and ranges
    DIR/model.safetensors   a tensor for each of the head's, of its shape, and finite numbers

The head is first made on the meta device, so that a config cannot ask for more memory than its weights have.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import torch
from jsonargparse import ArgumentError, ArgumentParser
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.bounded_files import check_regular, read_json
from ca_seg.errors import CorruptWeights, WeightsUnavailable

Made = TypeVar("Made", bound=nn.Module)
CONFIG, WEIGHTS = "config.json", "model.safetensors"
LEAST = {"channels": 1, "maps": 0, "stride": 1, "resolution": 1}  # of the numbers in a config


def read_head_folder(folder: Path, make: Callable[..., Made]) -> Made:
    """The head in `folder`, made by `make` from its config, with its weights.

    Raises:
        WeightsUnavailable: for a missing file
        CorruptWeights: for a config or weights that do not make a head
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsUnavailable(f"no {folder / name}", fix="train a head: it is written to OUT/head")
    try:
        config = _config(folder / CONFIG, make)
        check_regular(folder / WEIGHTS)
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in make(**config).state_dict().items()}
        state = load_file(folder / WEIGHTS)
        _check(state, shapes)
        head = make(**config)
        head.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError, LookupError, ArgumentError) as problem:
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise CorruptWeights(f"the head in {folder} cannot be read ({reason:.300})") from problem
    return head


def _config(file: Path, make: Callable[..., nn.Module]) -> dict[str, Any]:
    """Names and types are those of the constructor, checked by jsonargparse, which reads config files as well."""
    content = read_json(file)
    needed = [
        p.name for p in signature(make).parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ]
    lacking = [name for name in needed if not isinstance(content, dict) or name not in content]
    if lacking:
        raise ValueError(f"{CONFIG} is not of a head: it lacks {', '.join(lacking)}")
    _check_types(content, make)
    for part in ("readout", "reading"):  # the former name
        if content.get(part):
            _check_types(ReadoutConfig.from_plain(content[part]).plain(), ReadoutConfig)
    for name, least in LEAST.items():
        if content.get(name) is not None and content[name] < least:
            raise ValueError(f"{name} is {content[name]}, and {least} or more is allowed")
    if content.get("maps", 0) > content["channels"]:
        raise ValueError(f"{content['maps']} maps among {content['channels']} channels")
    return content


def _check_types(content: dict[str, Any], kind: Callable[..., Any]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    parsed = parser.parse_object(content).as_dict()
    changed = [name for name, value in content.items() if _plain(parsed[name]) != _plain(value)]
    if changed:  # such as "3" for 3
        raise ValueError(f"{changed[0]} is {content[changed[0]]!r:.60}, which is of another type")


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _check(state: dict[str, torch.Tensor], shapes: dict[str, torch.Size]) -> None:
    """Raises ValueError for tensors of other names or shapes, and for numbers that are not finite."""
    odd = sorted(state.keys() ^ shapes.keys())
    if odd:
        raise ValueError(f"{WEIGHTS} {'lacks' if odd[0] in shapes else 'has'} the tensor {odd[0]!r:.100}")
    for name, tensor in state.items():
        if tensor.shape != shapes[name]:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, and the config says {tuple(shapes[name])}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} in {WEIGHTS} has numbers that are not finite")
