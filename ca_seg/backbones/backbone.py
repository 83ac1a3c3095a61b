"""A frozen diffusion transformer that records images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import Family, TextTokens
from ca_seg.backbones.images import Images, as_tensor, resize_in, resize_out
from ca_seg.backbones.loading.card import Card, check_timestep
from ca_seg.backbones.text.encoder import TextEncoder
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import Stream, record_streams
from ca_seg.concept.recording import Recording
from ca_seg.errors import OutOfRange, UserError
from ca_seg.vocabulary import Vocabulary

MORE = "a backbone holds the blocks up to the card's last layer unless load_backbone is told a later last_layer"


class Backbone(nn.Module):
    """Transformer, autoencoder and text side of one card: images in, recordings out.

    Always frozen: no parameter asks for a gradient, and `.train()` leaves it in eval mode.
    """

    def __init__(
        self,
        card: Card,
        family: Family,
        transformer: nn.Module,
        autoencoder: nn.Module,
        text: TextEncoder,
        scheduler: Any,
    ) -> None:
        super().__init__()
        self.card, self.family, self.text, self.scheduler = card, family, text, scheduler
        self.transformer, self.autoencoder = transformer, autoencoder
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stays in eval mode: a frozen backbone must not change with the training of a head."""
        return super().train(False)

    @property
    def layers(self) -> int:
        """How many joint attentions there are."""
        return len(self.family.blocks(self.transformer))

    @property
    def device(self) -> torch.device:
        """Where inputs go. The autoencoder says it: an offloaded transformer's own weights may lie elsewhere."""
        return next(chain(self.autoencoder.parameters(), self.autoencoder.buffers())).device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the transformer computes in (its quantised weights are of another)."""
        weights = (p.dtype for p in self.transformer.parameters())
        return next(dtype for dtype in weights if dtype.is_floating_point and dtype.itemsize > 1)

    @torch.no_grad()
    def encode(self, images: Images) -> torch.Tensor:
        """Images (see `images.py`) to clean latents [B, c, h, w] at the card's resolution.

        Video families: [B, c, frames, h, w], an image being a video of one frame; a clip is [B, 3, F, H, W].
        """
        batch = as_tensor(images)
        if batch.ndim == 5 and not self.family.video:
            raise UserError(f"{self.card.name} takes images, not videos", fix="give [B, 3, H, W]")
        batch = resize_in(batch, self.card.resolution, self.card.multiple)
        if self.family.video and batch.ndim == 4:
            batch = batch[:, :, None]
        return self.family.encode(self.autoencoder, (2 * batch - 1).to(self.device, self.dtype))

    @torch.no_grad()
    def record(
        self,
        images: Images,
        *,
        prompt: str | Sequence[str] = "",
        timesteps: float | Sequence[float] | None = None,
        noise_samples: int | None = None,
        layers: Sequence[int] | None = None,
        seed: int | Sequence[int] = 0,
        queries: bool = False,
        stop_early: bool = True,
    ) -> Recording:
        """Run the images once, noised to each timestep with each of `noise_samples` noises, all in one batch.

        `None` means: as the card says. `layers` are those that maps will read; the pass is cut after the last.
        `seed` fixes the noise: one number, or one per image, so that an image's noise does not depend on its batch.
        `queries` keeps the image's queries too.
        """
        layers = self.card.layers if layers is None else tuple(layers)
        if not layers or min(layers) < 0 or max(layers) >= self.layers:
            raise OutOfRange(f"layers {list(layers)} of {self.card.name}", allowed=f"0 to {self.layers - 1}", fix=MORE)
        one = isinstance(timesteps, float | int)
        times = [self.card.timestep] if timesteps is None else [timesteps] if one else list(timesteps)
        for time in times:
            check_timestep(time)
        noise_samples = self.card.noise_samples if noise_samples is None else noise_samples
        if noise_samples < 1 or not times:
            raise OutOfRange(f"{noise_samples} noise samples at {len(times)} timesteps", allowed="1 or more of each")
        latents = self.encode(images)
        batch, noised_copies = len(latents), noise_samples * len(times)
        seeds = [seed] * batch if isinstance(seed, int) else list(seed)
        if len(seeds) != batch:
            raise UserError(f"{len(seeds)} seeds for {batch} images", allowed="one number, or one per image")
        noise = torch.cat([_noise(latents.shape[1:], s, noise_samples) for s in seeds], dim=1).to(latents)
        moments = torch.tensor(times, device=latents.device, dtype=latents.dtype)
        noised = torch.cat([self._noised(latents, own, t) for t in moments for own in noise])
        when = moments.repeat_interleave(noise_samples * batch)
        text = self.text.prompt([prompt] * batch if isinstance(prompt, str) else list(prompt))
        text = text.each(lambda x: self._placed(x).repeat(noised_copies, *[1] * (x.ndim - 1)))
        return self.record_latents(
            noised, text, when, noised_copies=noised_copies, layers=layers, queries=queries, stop_early=stop_early
        )

    @torch.no_grad()
    def record_latents(
        self,
        latents: torch.Tensor,
        text: TextTokens,
        timesteps: torch.Tensor,
        *,
        noised_copies: int = 1,
        layers: Sequence[int] | None = None,
        queries: bool = False,
        stop_early: bool = True,
    ) -> Recording:
        """Record latents [draws * B, c, h, w] that are already noised to timesteps [draws * B]."""
        layers = self.card.layers if layers is None else tuple(layers)
        family, transformer = self.family, self.transformer
        inputs = family.inputs(transformer, latents, text, timesteps, self.card.guidance)
        grid = family.grid(transformer, inputs)
        streams, prediction = record_streams(
            transformer,
            family.attentions(transformer),
            inputs,
            image_tokens=grid.tokens,
            text_first=family.text_first,
            last_layer=max(layers),
            queries=queries,
            stop_early=stop_early,
        )
        tensor = None if prediction is None else prediction[0]
        call = family.concept_inputs(transformer, inputs)
        return Recording(grid, noised_copies, tuple(layers), tuple(streams), call, tensor, self.ask)

    @torch.no_grad()
    def ask(self, vocabulary: Vocabulary, recording: Recording, concept_attention: str = "both") -> list[Stream]:
        """The concept streams for a recording; `Recording.ask` calls this."""
        family, transformer = self.family, self.transformer
        words = self.text.concepts(vocabulary.concepts, self.card.phrase_pooling)
        rows = len(recording.streams[0].key)
        concepts = words.each(lambda x: self._placed(x).expand(rows, *x.shape[1:]))
        layout = Layout(concepts.hidden.shape[1], family.text_first, family.registers(transformer))
        inputs = recording.call | family.text_inputs(transformer, concepts, concepts=True)
        with family.asking(transformer, recording.grid):
            return ask_streams(
                transformer,
                family.attentions(transformer),
                inputs,
                recording.streams,
                layout,
                concept_attention=concept_attention,
            )

    def maps(self, images: Images, vocabulary: Vocabulary, *, seed: int | Sequence[int] = 0) -> torch.Tensor:
        """Record, ask and read in one: class maps [B, K, H, W] in the images' own size, at the card's settings.

        For a clip [B, 3, F, H, W]: [B, K, F, H, W].
        """
        batch = as_tensor(images)
        features = self.record(batch, seed=seed).ask(vocabulary)
        frames = batch.shape[2] if batch.ndim == 5 else None
        return resize_out(features.maps(space=self.card.space), *batch.shape[-2:], frames=frames)

    def _noised(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Latents [B, ...] at timestep t with one noise [B, ...] (see `Family.noise_at`)."""
        if self.family.noise_at == "flow":
            return (1 - t) * latents + t * noise
        steps = (t * self.scheduler.config.num_train_timesteps).long().clamp(max=len(self.scheduler.alphas_cumprod) - 1)
        return self.scheduler.add_noise(latents, noise, steps.expand(len(latents)))

    def _placed(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.device, self.dtype if x.is_floating_point() else x.dtype)


def _noise(shape: torch.Size, seed: int, samples: int) -> torch.Tensor:
    """[samples, 1, *shape] standard normal noise, the same on every device."""
    return torch.randn(samples, 1, *shape, generator=torch.Generator().manual_seed(seed))
