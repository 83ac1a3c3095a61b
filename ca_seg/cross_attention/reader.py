"""Reads where words are in real pictures, by the cross-attention of a loaded diffusers pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.images import Images, as_tensor, resize_in
from ca_seg.backbones.loading.card import check_timestep
from ca_seg.cross_attention.families.registry import family_of
from ca_seg.cross_attention.layer import CrossAttention
from ca_seg.cross_attention.record import CrossAttentionTap
from ca_seg.cross_attention.recording import CrossAttentionRecording
from ca_seg.cross_attention.stock_call import stock_call
from ca_seg.cross_attention.words import PromptTokens
from ca_seg.errors import OutOfRange, UserError
from ca_seg.seed_range import seeds_of


class CrossAttentionReader:
    """The cross-attentions of a stock text-to-image or text-to-video pipeline.

    Args:
        pipeline: StableDiffusionPipeline, StableDiffusionXLPipeline, PixArtSigmaPipeline, SanaPipeline, WanPipeline,
            LTXPipeline, LTX2Pipeline, Kandinsky5T2IPipeline or Kandinsky5T2VPipeline, loaded, with its text encoders;
            WanImageToVideoPipeline for a trace
        layers: patterns of the names of the layers to read, such as "up_blocks.*" (default: all)
        resolution: pixels of the short side of pictures (default: that of the weights)

    Raises:
        UserError: for another pipeline, and for patterns that no layer matches
        OutOfRange: for a resolution below one token

    Example:
        >>> reader = CrossAttentionReader(StableDiffusionPipeline.from_pretrained(...))
        >>> recording = reader.record(Image.open("photo.jpg"), "a cat on grass", timesteps=0.3)
        >>> recording.maps(["cat", "grass"])  # [1, 2, 64, 64]
        >>> recording.ask("a dog").maps(["dog"])  # words that the prompt does not have
    """

    def __init__(
        self, pipeline: Any, *, layers: str | Sequence[str] | None = None, resolution: int | None = None
    ) -> None:
        self.pipeline, self.family = pipeline, family_of(pipeline)
        denoiser = self.family.denoisers(pipeline)[0]
        names = list(self.family.layers(denoiser))
        self.patterns = ["*"] if layers is None else [layers] if isinstance(layers, str) else list(layers)
        self.layer_names = [name for name in names if any(fnmatch(name, pattern) for pattern in self.patterns)]
        if not self.layer_names:
            raise UserError(f"no layer matches {', '.join(self.patterns)}", allowed=f"{names[0]} ... {names[-1]}")
        multiple = self.family.multiple(pipeline)
        self.resolution = self.family.resolution(pipeline) if resolution is None else resolution
        if self.resolution < multiple:
            raise OutOfRange(f"resolution {resolution}", allowed=f"{multiple} pixels or more")

    def modules(self, denoiser: nn.Module) -> dict[str, nn.Module]:
        """The attention modules that are read."""
        modules = self.family.layers(denoiser)
        return {name: modules[name] for name in self.layer_names}

    @torch.no_grad()
    def record(
        self,
        images: Images,
        prompt: str = "",
        *,
        timesteps: float | Sequence[float] = 0.5,
        noise_samples: int = 1,
        seed: int | Sequence[int] = 0,
        outputs: bool = False,
    ) -> CrossAttentionRecording:
        """Encode pictures, noise them, and run the denoiser once on each noised copy with the prompt, without guidance.

        Args:
            images: see `images.as_tensor`
            prompt: the text that the denoiser sees
            timesteps: noise levels, 0 (clean) to 1 (noise)
            noise_samples: noise samples per picture and timestep
            seed: of the noise; one number, or one per picture
            outputs: keep the attention outputs of the image tokens too

        Raises:
            OutOfRange: for a timestep, a seed or a number of samples out of range
            UserError: for something that is not pictures, a prompt that is too long, an image-to-video pipeline, or
                timesteps on both sides of the boundary between the two transformers of Wan 2.2
        """
        times = [timesteps] if isinstance(timesteps, float | int) else list(timesteps)
        for time in times:
            check_timestep(time)
        if noise_samples < 1 or not times:
            raise OutOfRange(f"{noise_samples} noise samples at {len(times)} timesteps", allowed="1 or more of each")
        family, pipeline = self.family, self.pipeline
        if not family.reads_pictures(pipeline):
            raise UserError(
                f"a {type(pipeline).__name__} sees the clean first frame beside the noised video: it is image-to-video",
                fix="trace a generation, or load the text-to-video pipeline",
            )
        denoiser = self._denoiser(times)
        time_inputs = [family.timestep_input(pipeline, time) for time in times]
        pictures = resize_in(self._pictures(images), self.resolution, family.multiple(pipeline))
        seeds = seeds_of(seed, len(pictures))
        tokens = family.tokens(pipeline, prompt)
        call = self._call(prompt, *pictures.shape[-2:])
        device, dtype = call["encoder_hidden_states"].device, call["encoder_hidden_states"].dtype
        pixels = (2 * pictures - 1).to(device, pipeline.vae.dtype)
        latents = family.encode(pipeline, pixels[:, :, None] if family.video else pixels).to(dtype)
        noise = torch.cat([_noise(latents.shape[1:], s, noise_samples) for s in seeds], dim=1).to(latents)
        noised = torch.cat([family.noised(pipeline, latents, sample, time) for time in times for sample in noise])
        inputs = torch.tensor(time_inputs, device=device)
        row_times = inputs.repeat_interleave(noise_samples * len(pictures))
        call = family.with_image(denoiser, call, noised, row_times)
        layers, prediction = self._run(denoiser, call, outputs)

        def keys(text: str) -> tuple[dict[str, CrossAttention], PromptTokens]:
            return self._keys(text, denoiser, inputs, pictures.shape[-2:])

        return CrossAttentionRecording(tokens, layers, noise_samples * len(times), prediction, keys)

    def _run(
        self, denoiser: Any, call: dict[str, Any], outputs: bool
    ) -> tuple[tuple[CrossAttention, ...], torch.Tensor]:
        tap = CrossAttentionTap(
            self.modules(denoiser),
            lambda tokens: self.family.grid(denoiser, call, tokens),
            outputs=outputs,
            attends=self.family.attends(denoiser),
        )
        with tap:
            prediction = denoiser(**call)[0]
        return tap.layers(), prediction

    @torch.no_grad()
    def _keys(
        self, text: str, denoiser: Any, times: torch.Tensor, size: Sequence[int]
    ) -> tuple[dict[str, CrossAttention], PromptTokens]:
        """The text keys of every layer, a row per timestep. They do not depend on the picture: the smallest will do."""
        tokens = self.family.tokens(self.pipeline, text)
        call = self._call(text, *size)
        hidden = call["encoder_hidden_states"]
        smallest = self.family.smallest_latents(denoiser).to(hidden)
        latents = smallest.expand(len(times), *smallest.shape[1:])
        layers, _ = self._run(denoiser, self.family.with_image(denoiser, call, latents, times), False)
        return {layer.name: layer for layer in layers}, tokens

    def _call(self, prompt: str, height: int, width: int) -> dict[str, Any]:
        arguments = self.family.pipeline_arguments(prompt, height, width)
        return stock_call(self.pipeline, self.family.denoisers(self.pipeline), arguments)

    def _denoiser(self, times: Sequence[float]) -> Any:
        denoisers = [self.family.denoiser(self.pipeline, time) for time in times]
        if any(denoiser is not denoisers[0] for denoiser in denoisers):
            raise UserError(
                f"the timesteps {list(times)} belong to two transformers", fix="record each side on its own"
            )
        return denoisers[0]

    def _pictures(self, images: Images) -> torch.Tensor:
        batch = as_tensor(images)
        if batch.ndim == 5:
            raise UserError("a clip was given", allowed="pictures", fix="trace a generation for the maps of a video")
        return batch


def _noise(shape: torch.Size, seed: int, samples: int) -> torch.Tensor:
    """[samples, 1, *shape] standard normal noise, the same on every device."""
    return torch.randn(samples, 1, *shape, generator=torch.Generator().manual_seed(seed))
