"""Maps during generation: every call of the transformer is recorded and asked, and the maps are averaged.

step 0      step 1            step n
record      record    ...     record      every forward pass of the transformer, unchanged
ask         ask               ask         at the timestep of the step
   └──────────┴── mean of maps ──┘

With guidance a pipeline also runs the transformer on a negative prompt. The image does not follow that prompt, so it is
excluded. If both prompts run in one batch, the other half is excluded (`Family.prompt_first`); if they run in separate
calls, every call whose text differs from that of the first call. The same holds for the call without some layers of
SD3's skip-layer guidance. Two of these in a row, or one of other latents than the step's, are no guidance but a second
prompt, which is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.concept.record import Kept, Stream, check_recorded, stream_recorder
from ca_seg.concept.recording import Recording
from ca_seg.concept.tap import AttentionTap, check_whole
from ca_seg.errors import UserError
from ca_seg.vocabulary import Words, as_vocabulary


class GenerationTrace:
    """Averages the class maps of every forward pass of a backbone's transformer inside a `with`.

    It works with any pipeline that runs this transformer. The hooks are removed after the `with`, also after an
    exception.

    Args:
        backbone: whose transformer generates
        vocabulary: a word, a list of words, a dict of class to phrases, or a Vocabulary
        layers: the joint attentions that maps read (default: the card's)
        space: output, cross-attention or value (default: the card's)
        images: how many are generated at once
        on_step: is called after every step with its number, from 1, and its maps [images, K, h, w]

    Example:
        >>> backbone = backbone_of(pipe, "flux1-dev")
        >>> with GenerationTrace(backbone, ["cat", "grass"]) as trace:
        ...     pipe("a cat on grass")
        >>> trace.maps()  # [1, 2, h, w]
    """

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: Words,
        *,
        layers: Sequence[int] | None = None,
        space: str | None = None,
        images: int = 1,
        on_step: Callable[[int, torch.Tensor], None] | None = None,
    ) -> None:
        self.on_step = on_step
        self.backbone, self.vocabulary, self.images = backbone, as_vocabulary(vocabulary), images
        self.layers = tuple(backbone.card.layers if layers is None else layers)
        self.space = backbone.card.space if space is None else space
        self.steps = 0
        self._sum: torch.Tensor | None = None
        self._text: torch.Tensor | None = None
        self._latents: Any = None  # of the last step: a negative prompt is asked of the same ones
        self._negatives = 0  # calls in a row whose text is not that of the first call
        self._tap: AttentionTap | None = None
        self._streams: list[Stream] = []
        self._asking = False
        self._hooks: list[Any] = []

    def __enter__(self) -> GenerationTrace:
        transformer = self.backbone.transformer
        check_whole(transformer)
        if transformer._compiled_call_impl is not None:  # it keeps the hooks that it was compiled with
            raise UserError(
                "the transformer is compiled as a whole (`compile`), and the trace does not see its calls",
                fix="load it without `compile`; `compile_repeated_blocks` compiles its blocks, and is seen",
            )
        self._hooks = [
            transformer.register_forward_pre_hook(self._before, with_kwargs=True),
            transformer.register_forward_hook(self._after, with_kwargs=True, always_call=True),
        ]
        return self

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def maps(self) -> torch.Tensor:
        """[images, K, h, w] (frames before h for a video), the mean over the steps so far."""
        if self._sum is None:
            raise UserError("nothing was generated inside the trace")
        return self._sum / self.steps

    def _before(self, transformer: Any, args: Any, kwargs: dict[str, Any]) -> None:
        kwargs = _by_name(transformer, args, kwargs)
        if self._asking:
            return
        if self._is_negative(kwargs):
            self._negatives += 1
            if self._negatives > 1 or not _of_step(kwargs.get("hidden_states"), self._latents):
                raise UserError("a second prompt inside one GenerationTrace", fix="open a trace for each prompt")
            return
        self._negatives, self._latents = 0, kwargs.get("hidden_states")
        family = self.backbone.family
        self._streams = []
        attend = stream_recorder(
            self._streams,
            image_tokens=family.grid(transformer, kwargs).tokens,
            text_first=family.text_first,
            last_layer=max(self.layers),
            reference_tokens=family.reference_tokens(transformer, kwargs),
            kept=Kept(self.layers, ("output",), ("key", "value")),
        )
        self._tap = AttentionTap(family.attentions(transformer), attend)
        self._tap.__enter__()

    def _after(self, transformer: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if self._asking or self._tap is None:
            return
        self._tap.__exit__(None, None, None)
        self._tap = None
        if output is None:
            return
        self._asking = True
        try:
            check_recorded(self._streams, max(self.layers) + 1)
            maps = self._recording(_by_name(transformer, args, kwargs)).ask(self.vocabulary).maps(space=self.space)
        finally:
            self._asking = False
            self._streams = []
        self._sum = maps if self._sum is None else self._sum + maps
        self.steps += 1
        if self.on_step is not None:
            self.on_step(self.steps, maps)

    def _recording(self, kwargs: dict[str, Any]) -> Recording:
        """The recording of the last call, without the rows of a negative prompt."""
        backbone = self.backbone
        family, transformer = backbone.family, backbone.transformer
        grid, call = family.grid(transformer, kwargs), family.concept_inputs(transformer, kwargs)
        recording = Recording(
            grid=grid,
            noised_copies=1,
            layers=self.layers,
            streams=tuple(self._streams),
            call=call,
            prediction=None,
            concept_pass=backbone.ask,
        )
        rows = recording.batch
        if rows == 2 * self.images:
            prompt_rows = slice(0, self.images) if backbone.family.prompt_first else slice(self.images, None)
            return recording.rows(prompt_rows)
        if rows != self.images:
            raise UserError(f"the pipeline runs {rows} rows at once", allowed=f"{self.images}, or twice as many")
        return recording

    def _is_negative(self, kwargs: dict[str, Any]) -> bool:
        text = kwargs.get("encoder_hidden_states")
        if not isinstance(text, torch.Tensor):
            return False
        if self._text is None:
            self._text = text
        return text.shape != self._text.shape or not torch.equal(text, self._text)


def _of_step(latents: Any, step: Any) -> bool:
    """Whether the latents of a call are those of the last step, which holds them twice for two prompts in a batch."""
    if isinstance(latents, torch.Tensor) and isinstance(step, torch.Tensor):
        return latents.shape[1:] == step.shape[1:] and torch.equal(latents, step[-len(latents) :])
    return latents is step


def _by_name(transformer: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name: AuraFlow's pipeline gives the latents by position."""
    names = inspect.signature(transformer.forward).parameters
    return dict(zip(names, args, strict=False)) | kwargs
