"""All families by name: a tiny stock pipeline, and what the contract in `test_stock_pipelines.py` expects of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.flux import unpack
from ca_seg.backbones.load import backbone_of
from tests import tiny_chat_pipelines as chat
from tests import tiny_pipelines as plain
from tests import tiny_single_stream_pipelines as single
from tests.small_models import small_model
from tests.stock_run import stock_run


@dataclass(frozen=True)
class TinyFamily:
    """One family's pipeline and expectations."""

    make: Callable[[], tuple[Any, str, dict[str, Any]]]  # pipeline, card, settings of a generation (with guidance)
    length: int  # text tokens
    first_word: int  # index of the first word's token in an encoded text
    around: int  # tokens of the encoded text that are not words: end token, chat template
    calls: int  # of the transformer in two steps with `settings`
    latents: str  # how a call holds them: plain, packed, flat, frames, list, or conditioned (with as many zeros)
    timestep: str = "timestep"  # the argument
    scale: float = 1000.0  # of that argument, for noise levels in 0..1
    sigmas: bool = False  # the noise level of a step is the scheduler's
    reversed: bool = False  # its timesteps and sigmas are 0 for noise
    last_step_only: tuple[str, ...] = ()  # arguments that equal the pipeline's in its last step alone
    unguided: dict[str, Any] | None = None  # settings without a negative prompt; None: `settings`
    guidances: tuple[float, ...] = (0.0, 4.0)
    pixels: int = 48  # of the short side
    max_length: bool = True  # the pipeline takes `max_sequence_length`
    text_length: int | None = None  # as the pipeline pads; None: `length`
    frames: int = 5  # of a video: two latent frames

    @property
    def size(self) -> dict[str, int]:
        """3 x 5 tokens."""
        return {"height": self.pixels, "width": self.pixels // 3 * 5}


_OFF = {"guidance_scale": 1.0}  # no negative prompt
TINY: dict[str, TinyFamily] = {
    "flux": TinyFamily(plain.tiny_flux, 7, 0, 1, 2, "packed", scale=1.0),
    "flux2": TinyFamily(chat.tiny_flux2, 60, 28, 29, 2, "flat", scale=1.0),
    "flux2-klein": TinyFamily(chat.tiny_flux2_klein, 60, 2, 5, 4, "flat", scale=1.0, unguided=_OFF),
    "sd3": TinyFamily(plain.tiny_sd3, 7, 7, 1, 2, "plain", unguided=_OFF),
    "cogvideox": TinyFamily(plain.tiny_cogvideox, 7, 0, 1, 2, "frames", unguided=_OFF),
    "mochi": TinyFamily(plain.tiny_mochi, 7, 0, 1, 2, "plain", sigmas=True, reversed=True, unguided=_OFF, frames=7),
    "qwen-image": TinyFamily(chat.tiny_qwen_image, 60, 0, 3, 4, "packed", scale=1.0),
    "chroma": TinyFamily(plain.tiny_chroma, 7, 0, 1, 4, "packed", scale=1.0),
    "auraflow": TinyFamily(chat.tiny_auraflow, 8, 0, 1, 2, "plain", scale=1.0, sigmas=True, unguided=_OFF),
    "cogview4": TinyFamily(plain.tiny_cogview4, 7, 13, 1, 4, "plain"),
    "hunyuan-video": TinyFamily(chat.tiny_hunyuan_video, 8, 0, 1, 2, "plain", sigmas=True),
    "hunyuan-image": TinyFamily(
        chat.tiny_hunyuan_image,
        8,
        0,
        1,
        2,
        "plain",
        sigmas=True,
        last_step_only=("timestep_r",),
        pixels=96,
        max_length=False,
        text_length=1000,
    ),
    "z-image": TinyFamily(chat.tiny_z_image, 40, 2, 5, 2, "list", "t", sigmas=True, guidances=(0.0,)),
    "ovis-image": TinyFamily(chat.tiny_ovis_image, 14, 1, 4, 4, "packed", scale=1.0, sigmas=True),
    "hunyuan-video-1.5": TinyFamily(
        chat.tiny_hunyuan_video15,
        8,
        0,
        3,
        4,
        "conditioned",
        sigmas=True,
        unguided=_OFF,
        max_length=False,
        text_length=12,
    ),
    "longcat-image": TinyFamily(
        chat.tiny_longcat_image, 8, 0, 0, 4, "packed", scale=1.0, max_length=False, text_length=512
    ),
    "krea2": TinyFamily(single.tiny_krea2, 12, 0, 3, 4, "packed", scale=1.0, unguided={"guidance_scale": 0.0}),
    "lumina2": TinyFamily(single.tiny_lumina2, 40, 26, 26, 4, "plain", sigmas=True, unguided=_OFF),
    "ernie-image": TinyFamily(single.tiny_ernie_image, 7, 1, 1, 2, "plain", unguided=_OFF, max_length=False),
}


class Run:
    """A tiny pipeline with a backbone around it, and its generations of two steps."""

    def __init__(self, name: str) -> None:
        self.tiny = TINY[name]
        self.pipeline, card, self.settings = self.tiny.make()
        self.pipeline.set_progress_bar_config(disable=True)
        self.backbone: Backbone = backbone_of(self.pipeline, card, resolution=self.tiny.pixels)
        self.family: Family = self.backbone.family
        self.backbone.text.length = self.tiny.text_length or self.tiny.length
        self.small = small_model(self.family)
        self.last_layer = len(self.family.blocks(self.pipeline.transformer)) - 1

    def generate(self, **changes: Any) -> tuple[torch.Tensor, list[dict[str, Any]]]:
        """The output of the stock pipeline, and the calls of its transformer."""
        length = {"max_sequence_length": self.tiny.length} if self.tiny.max_length else {}
        settings = self.tiny.size | length | self.settings | changes
        if (guidance := settings.pop(self.family.guidance_argument, None)) is not None:
            settings |= self.family.guided(self.pipeline, guidance)
        return stock_run(self.pipeline, **settings)

    def unguided(self) -> dict[str, Any]:
        """Settings without a negative prompt."""
        if self.tiny.unguided is not None:
            return self.tiny.unguided
        return {self.family.guidance_argument: 1.0} if "negative_prompt" in self.settings else {}

    def latents(self, call: dict[str, Any]) -> torch.Tensor:
        """The prompt's row of latents in a call."""
        if self.tiny.latents == "list":
            return torch.stack(call["x"][:1])[:, :, 0]
        hidden = call["hidden_states"][-1:]
        if self.tiny.latents == "packed":
            return unpack(hidden, self.family.grid(self.pipeline.transformer, call))
        if self.tiny.latents == "conditioned":
            return hidden[:, : self.small.latents[0]]
        if self.tiny.latents == "flat":
            return hidden.transpose(1, 2).unflatten(2, (3, 5))
        return hidden.transpose(1, 2) if self.tiny.latents == "frames" else hidden

    def level(self, call: dict[str, Any], step: int) -> torch.Tensor:
        """The noise level [1] of a step, 1 = noise."""
        if self.tiny.sigmas:
            sigma = self.pipeline.scheduler.sigmas[step][None]
            return 1 - sigma if self.tiny.reversed else sigma
        return call[self.tiny.timestep][-1:].float() / self.tiny.scale
