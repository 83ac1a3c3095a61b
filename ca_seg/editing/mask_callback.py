"""Masks of words while a pipeline generates, after every step: `callback_on_step_end=masks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary

Callback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


class Trace(Protocol):
    """A `GenerationTrace` or a `CrossAttentionTrace`."""

    vocabulary: Vocabulary
    steps: int

    def __enter__(self) -> Any: ...
    def __exit__(self, *exc: Any) -> None: ...
    def maps(self) -> torch.Tensor: ...


class MaskCallback:
    """Maps and masks of words in the image that a pipeline is generating.

    The trace records every forward pass of the pipeline. After each step this object can be asked for the masks so far,
    by a further callback that runs behind it (`then`), in the same run.

    Args:
        trace: a `GenerationTrace`, or a `CrossAttentionTrace` for models that attend to their text separately

    Example:
        >>> with MaskCallback(GenerationTrace(backbone, ["cat", "grass"])) as masks:
        ...     pipe("a cat on grass", callback_on_step_end=masks)
        >>> masks.mask("cat")  # bool [h, w]
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._then: Callback | None = None

    def __enter__(self) -> MaskCallback:
        self.trace.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.trace.__exit__(*exc)

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """What a pipeline calls. Raises UserError outside the `with`, or for a pipeline of another transformer."""
        if self.trace.steps == 0:
            raise UserError(
                "no step of this pipeline was recorded",
                allowed="the pipeline of the trace's backbone, inside `with masks:`",
            )
        return tensors if self._then is None else self._then(pipeline, step, timestep, tensors)

    def then(self, callback: Callback) -> MaskCallback:
        """The same object, which also calls `callback` after each step, when its masks hold that step."""
        self._then = callback
        return self

    def maps(self) -> torch.Tensor:
        """[images, K, h, w], the mean over the steps so far. Raises UserError before the first step."""
        return self.trace.maps()

    def mask(self, word: str, *, image: int = 0) -> torch.Tensor:
        """Where the word has the highest value of all words so far, bool [h, w].

        Raises UnknownName for a word that is not among the trace's, UserError before the first step.
        """
        classes = self.trace.vocabulary.classes
        if word not in classes:
            raise UnknownName("word", word, classes)
        return self.maps()[image].argmax(dim=0) == classes.index(word)
