"""Maps of a picture while it is generated: the stock diffusers pipeline runs, and every step is asked.

step 0      step 1            step n
record      record    ...     record      each forward of the transformer, untouched
ask         ask               ask         at the step's own timestep
   └──────────┴── mean of maps ──┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from PIL.Image import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.pictures import resize_out
from ca_seg.concept.record import Stream, keeping
from ca_seg.concept.recording import Recording
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary


class GenerationTrace:
    """Listens to a backbone's transformer inside a `with`, and averages the class maps of every forward pass.

    Works with any pipeline that runs that transformer. The hooks are gone after the `with`, also after an exception.
    """

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary, *, layers: Sequence[int] | None = None) -> None:
        self.backbone, self.vocabulary = backbone, vocabulary
        self.layers = tuple(backbone.card.layers if layers is None else layers)
        self.steps = 0
        self._sum: torch.Tensor | None = None
        self._tap: AttentionTap | None = None
        self._streams: list[Stream] = []
        self._asking = False
        self._hooks: list[Any] = []

    def __enter__(self) -> GenerationTrace:
        transformer = self.backbone.transformer
        self._hooks = [
            transformer.register_forward_pre_hook(self._before, with_kwargs=True),
            transformer.register_forward_hook(self._after, with_kwargs=True, always_call=True),
        ]
        return self

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def maps(self) -> torch.Tensor:
        """[B, K, h, w], the mean over the steps so far."""
        if self._sum is None:
            raise UserError("nothing was generated inside the trace")
        return self._sum / self.steps

    def _before(self, transformer: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if self._asking:
            return
        family = self.backbone.family
        self._streams = []
        attend = keeping(
            self._streams,
            image_tokens=kwargs["hidden_states"].shape[1],
            text_first=family.text_first,
            last_layer=max(self.layers),
        )
        self._tap = AttentionTap(family.blocks(transformer), attend)
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
            guidance = kwargs.get("guidance")
            recording = Recording(
                self.backbone.family.grid_of(kwargs),
                1,
                self.layers,
                tuple(self._streams),
                kwargs["timestep"],
                None,
                lambda vocabulary, own: self.backbone.ask_at(
                    vocabulary, own, 0.0 if guidance is None else float(guidance[0])
                ),
            )
            maps = recording.ask(self.vocabulary).maps(space=self.backbone.card.space)
        finally:
            self._asking = False
            self._streams = []
        self._sum = maps if self._sum is None else self._sum + maps
        self.steps += 1


@dataclass(frozen=True)
class Generated:
    """Generated pictures, and the class maps [B, K, H, W] gathered while they were made."""

    images: list[Image]
    maps: torch.Tensor


@torch.no_grad()
def generate(
    backbone: Backbone,
    prompt: str,
    vocabulary: Vocabulary,
    *,
    height: int,
    width: int,
    steps: int = 4,
    guidance: float = 0.0,
    shift: float = 1.0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
) -> Generated:
    """Run the stock FLUX.1 pipeline on `prompt` and ask each of its steps where the words are.

    The backbone must hold all its blocks: `load_backbone(name, last_layer=56)` for FLUX.1. `shift` moves the schedule
    towards noise (1 = none, as schnell's). Raises UserError when blocks are missing.
    """
    transformer, config = backbone.transformer, backbone.transformer.config
    if backbone.layers < config.num_layers + config.num_single_layers:
        raise UserError(
            f"{backbone.card.name} was loaded with {backbone.layers} of its blocks and cannot generate",
            fix=f"load it with last_layer={config.num_layers + config.num_single_layers - 1}",
        )
    text = backbone.text.prompt([prompt])
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=backbone.autoencoder,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    with GenerationTrace(backbone, vocabulary, layers=layers) as trace:
        made = pipeline(
            prompt_embeds=text.hidden.to(backbone.device, backbone.dtype),
            pooled_prompt_embeds=text.pooled.to(backbone.device, backbone.dtype),
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
        )
    size = made.images[0].size
    return Generated(made.images, resize_out(trace.maps(), size[1], size[0]))
