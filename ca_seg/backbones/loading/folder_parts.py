"""The parts of a folder in the diffusers layout, read strictly: safetensors only, and no tensor may be missing.

FOLDER/transformer, vae, text_encoder..., tokenizer..., scheduler        model_index.json names each one's class
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.registry import diffusers_class
from ca_seg.backbones.loading.partial import described
from ca_seg.bounded_files import read_json
from ca_seg.errors import CorruptWeights, WeightsUnavailable

TEXT_FILES = ("text_encoder*", "tokenizer*", "model_index.json")  # the text side of a pipeline
LAYOUT = "give a folder in the diffusers layout"
READ_ERRORS = (OSError, ValueError, KeyError, SafetensorError)  # raised by the libraries for unreadable files
TEXT_PARTS = ("text_encoder", "tokenizer")  # the names of a pipeline's text components begin so


def read_config(file: Path) -> dict[str, Any]:
    """A config.json. Raises WeightsUnavailable, CorruptWeights."""
    if not file.exists():
        raise WeightsUnavailable(f"no {file}", fix=LAYOUT)
    try:
        content = read_json(file)
    except (OSError, ValueError) as problem:
        raise CorruptWeights(f"{file} is not JSON ({problem})", fix="download it again") from problem
    if not isinstance(content, dict):
        raise CorruptWeights(f"{file} holds no settings", fix="download it again")
    return content


def read_model(model_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A diffusers or transformers model of class `model_class`. Raises WeightsUnavailable, CorruptWeights."""
    if not folder.is_dir():
        raise WeightsUnavailable(f"no folder {folder}", fix=LAYOUT)
    try:
        model, report = model_class.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except READ_ERRORS as problem:
        raise CorruptWeights(
            f"{folder} cannot be read ({str(problem).splitlines()[0]})", fix="download it again"
        ) from problem
    if report["missing_keys"]:
        raise CorruptWeights(f"{folder} lacks the tensor {sorted(report['missing_keys'])[0]}", fix="download it again")
    return model.eval()


def read_autoencoder(folder: Path, dtype: torch.dtype) -> Any:
    """The autoencoder in `folder`/vae, of the class in its config. Raises WeightsUnavailable, CorruptWeights."""
    if not (folder / "vae").is_dir():
        raise WeightsUnavailable(f"no folder {folder / 'vae'}", fix=LAYOUT)
    name = str(read_config(folder / "vae" / "config.json").get("_class_name", "AutoencoderKL"))
    kind = getattr(diffusers, name, None) if name.startswith("Autoencoder") else None
    if kind is None:
        raise CorruptWeights(f"{folder / 'vae' / 'config.json'} names the class {name!r}", allowed="an autoencoder")
    return read_model(kind, folder / "vae", dtype)


def read_scheduler(folder: Path) -> Any | None:
    """The scheduler in `folder`/scheduler, or None if there is none. Raises CorruptWeights."""
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.exists():
        return None
    name = str(read_config(file).get("_class_name", ""))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise CorruptWeights(f"{file} names the class {name!r}", allowed="a scheduler of diffusers")
    return described(kind, read_config(file))


def text_pipeline(family: Family, folder: Path, dtype: torch.dtype, device: str) -> Any:
    """The family's stock pipeline with its text encoders and tokenizers alone, on `device`."""
    components = {}
    for name, (library, kind) in _components(folder).items():
        if not name.startswith(TEXT_PARTS) or kind is None:
            continue
        if name.startswith("tokenizer"):
            components[name] = _tokenizer(folder / name, kind)
        elif library == "transformers" and _is_model(kind):
            components[name] = read_model(getattr(transformers, kind), folder / name, dtype).to(device)
        else:
            raise CorruptWeights(
                f"{folder / 'model_index.json'} names {library}.{kind}", allowed="transformers' classes"
            )
    return assemble(family, components)


def assemble(family: Family, components: dict[str, Any], pipeline: str | None = None) -> Any:
    """The family's stock pipeline, or another of diffusers for it, from some of its parts; the others are None."""
    kind = diffusers_class(family, pipeline or family.pipeline)
    required, _ = kind._get_signature_keys(kind)
    assembled = kind(**{name: None for name in required} | family.placeholders() | components)
    assembled.set_progress_bar_config(disable=True)
    return assembled


def _components(folder: Path) -> dict[str, tuple[str | None, str | None]]:
    content = read_config(folder / "model_index.json")
    components = {name: tuple(value) for name, value in content.items() if isinstance(value, list) and len(value) == 2}
    for name, names in components.items():
        if any(part is not None and not isinstance(part, str) for part in names):
            raise CorruptWeights(f"model_index.json names {names!r:.60} as the {name}", allowed="a library and a class")
    return components


def _is_model(kind: str) -> bool:
    """Whether transformers has a model of this name."""
    model_class = getattr(transformers, kind, None)
    return isinstance(model_class, type) and issubclass(model_class, transformers.PreTrainedModel)


def _tokenizer(folder: Path, kind: str) -> Any:
    if not folder.is_dir():
        raise WeightsUnavailable(f"no folder {folder}", fix=LAYOUT)
    reader = transformers.AutoProcessor if kind.endswith("Processor") else transformers.AutoTokenizer
    try:
        return reader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except READ_ERRORS as problem:
        raise CorruptWeights(
            f"{folder} cannot be read ({str(problem).splitlines()[0]})", fix="download it again"
        ) from problem
