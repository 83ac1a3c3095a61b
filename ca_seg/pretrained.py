"""Weights of transformers, by a repository of the hub or a folder: which model they are, and reading them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ca_seg.errors import UserError, WeightsUnavailable


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
            content, _ = transformers.PretrainedConfig.get_config_dict(name)
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
