"""Weights by a repository of the hub or a folder: whether the hub answers; which model of transformers they are."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from ca_seg.errors import UserError, WeightsUnavailable

PATIENCE = 5.0  # seconds
NO_CONNECTION = "the hub cannot be reached, and they are not in its cache"


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached. Asked once: its library asks six times, for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE).close()
    except URLError as problem:  # an answer that refuses is one too, and so is a certificate of another authority
        return not isinstance(problem.reason, socket.gaierror | ConnectionError | TimeoutError)
    except (ConnectionError, TimeoutError):
        return False
    except HTTPException:
        return True
    return True


@dataclass(frozen=True)
class Pretrained:
    """A kind of model that users name weights of.

    Args:
        types: the known model types of config.json, each with what belongs to it
        models: the classes of transformers that are allowed, for errors
        what: what the weights are, in "WHAT cannot be read"; {} is their name
        unknown: "which is UNKNOWN", of weights of another model type
        example: weights that can be named
    """

    types: Mapping[str, Any]
    models: tuple[str, ...]
    what: str
    unknown: str
    example: str

    def model_type(self, name: str) -> str:
        """The model type of weights, a key of `types`; by config.json alone. Raises UserError, WeightsUnavailable."""
        import transformers

        with self.reading(name):
            here_only = not Path(name).is_dir() and not hub_answers()
            content, _ = transformers.PretrainedConfig.get_config_dict(name, local_files_only=here_only)
        kind = content.get("model_type")
        if kind not in self.types:
            raise UserError(
                f"{name} holds a model of the type {kind!r}, which is {self.unknown}",
                allowed=", ".join(self.models),
                fix=f"name other weights: {self.example}",
            )
        return str(kind)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """While transformers downloads or reads weights. Raises WeightsUnavailable where it cannot."""
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, RuntimeError, ValueError, SafetensorError) as problem:
            reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise WeightsUnavailable(
                f"{self.what.format(name)} cannot be read: {reason}",
                fix=f"name a repository of the hub or a local folder: {self.example}",
            ) from problem


def transformers_class(name: str) -> Any:
    """A class of transformers. Raises WeightsUnavailable where the installed version does not have it."""
    import transformers

    if not hasattr(transformers, name):
        raise WeightsUnavailable(
            f"transformers {transformers.__version__} has no {name}", fix="install a newer transformers"
        )
    return getattr(transformers, name)
