"""An inpainting pipeline of the user's: a loaded one, or a folder in the diffusers layout."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from ca_seg.backbones.families.registry import is_exported
from ca_seg.backbones.loading.folder_parts import READ_ERRORS, read_config
from ca_seg.errors import CorruptWeights, UserError

ALLOWED = "an inpainting pipeline of diffusers: its call takes image and mask_image"


def takes_masks(kind: type) -> bool:
    """Whether the call of a pipeline class takes a photograph and a mask."""
    return {"image", "mask_image"} <= set(inspect.signature(kind.__call__).parameters)


def check_pipeline(pipeline: Any) -> None:
    """Raises UserError for anything that does not take a mask: a folder of another pipeline, another object.

    Nothing heavy is read.
    """
    if isinstance(pipeline, str | Path):
        _class_in(Path(pipeline))
    elif not callable(pipeline) or not takes_masks(type(pipeline)):
        raise UserError(f"the pipeline is a {type(pipeline).__name__}", allowed=ALLOWED)


def open_pipeline(pipeline: Any, device: str, dtype: torch.dtype) -> Any:
    """A loaded pipeline as it is; one in a folder is read: safetensors only, no code, nothing is downloaded.

    Raises WeightsUnavailable, CorruptWeights; UserError as `check_pipeline`.
    """
    check_pipeline(pipeline)
    if not isinstance(pipeline, str | Path):
        return pipeline
    kind = _class_in(Path(pipeline))
    try:
        loaded = kind.from_pretrained(pipeline, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    except READ_ERRORS as problem:
        reason = str(problem).splitlines()[0]
        raise CorruptWeights(f"{pipeline} cannot be read ({reason})", fix="download it again") from problem
    loaded.set_progress_bar_config(disable=True)
    return loaded.to(device)


def _class_in(folder: Path) -> Any:
    """The class that a folder's model_index.json names."""
    import diffusers  # here: it takes seconds to import

    index = read_config(folder / "model_index.json")
    for part in index.values():
        if isinstance(part, list) and part[:1] not in ([None], ["diffusers"], ["transformers"]):
            raise UserError(
                f"{folder} names {'.'.join(map(str, part))}", allowed="classes of diffusers and transformers"
            )
    name = str(index.get("_class_name", ""))
    if not is_exported(name) or not takes_masks(getattr(diffusers, name)):
        raise UserError(f"{folder} holds a {name or 'folder without a class'}", allowed=ALLOWED)
    return getattr(diffusers, name)
