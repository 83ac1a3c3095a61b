"""A frozen diffusion transformer that records pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ca_seg.backbones.card import Card, check_timestep
from ca_seg.backbones.family import Family, TextTokens
from ca_seg.backbones.pictures import Pictures, as_tensor, resize_in, resize_out
from ca_seg.backbones.text import TextEncoder
from ca_seg.concept.ask import ask_streams
from ca_seg.concept.record import Stream, record_streams
from ca_seg.concept.recording import Recording
from ca_seg.errors import OutOfRange, UserError
from ca_seg.vocabulary import Vocabulary

MORE = "a backbone holds the blocks up to the card's last layer unless load_backbone is told a later last_layer"


class Backbone(nn.Module):
    """Transformer, autoencoder and text side of one card: pictures in, recordings out.

    Always frozen: no parameter asks for a gradient, and `.train()` leaves it in eval mode.
    """

    def __init__(
        self, card: Card, family: Family, transformer: nn.Module, autoencoder: nn.Module, text: TextEncoder
    ) -> None:
        super().__init__()
        self.card, self.family, self.text = card, family, text
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
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.transformer.parameters()).dtype

    @torch.no_grad()
    def encode(self, images: Pictures) -> torch.Tensor:
        """Pictures (see `pictures.py`) to clean latents [B, c, h, w] at the card's resolution."""
        batch = resize_in(as_tensor(images), self.card.resolution, self.card.multiple)
        config = self.autoencoder.config
        latents = self.autoencoder.encode((2 * batch - 1).to(self.device, self.dtype)).latent_dist.mode()
        return (latents - config.shift_factor) * config.scaling_factor

    @torch.no_grad()
    def record(
        self,
        images: Pictures,
        *,
        prompt: str | Sequence[str] = "",
        timesteps: float | Sequence[float] | None = None,
        samples: int | None = None,
        layers: Sequence[int] | None = None,
        seed: int | Sequence[int] = 0,
        stop_early: bool = True,
    ) -> Recording:
        """Run the pictures once, noised to each timestep with each of `samples` noises, all in one batch.

        `None` means: as the card says. `layers` are those that maps will read; the pass is cut after the last.
        `seed` fixes the noise: one number, or one per picture, so that a picture's noise does not depend on its batch.
        """
        layers = self.card.layers if layers is None else tuple(layers)
        if not layers or min(layers) < 0 or max(layers) >= self.layers:
            raise OutOfRange(f"layers {list(layers)} of {self.card.name}", allowed=f"0 to {self.layers - 1}", fix=MORE)
        one = isinstance(timesteps, float | int)
        times = [self.card.timestep] if timesteps is None else [timesteps] if one else list(timesteps)
        for time in times:
            check_timestep(time)
        samples = self.card.samples if samples is None else samples
        if samples < 1 or not times:
            raise OutOfRange(f"{samples} noise samples at {len(times)} timesteps", allowed="1 or more of each")
        latents = self.encode(images)
        batch, draws = len(latents), samples * len(times)
        seeds = [seed] * batch if isinstance(seed, int) else list(seed)
        if len(seeds) != batch:
            raise UserError(f"{len(seeds)} seeds for {batch} pictures", allowed="one number, or one per picture")
        noise = torch.cat([self._noise(latents.shape[1:], s, samples) for s in seeds], dim=1).to(latents)
        moments = torch.tensor(times, device=latents.device, dtype=latents.dtype)
        t = moments[:, None, None, None, None, None]
        noised = ((1 - t) * latents + t * noise).flatten(0, 2)
        when = moments.repeat_interleave(samples * batch)
        text = self.text.prompt([prompt] * batch if isinstance(prompt, str) else list(prompt))
        text = TextTokens(*(self._placed(x).repeat(draws, *[1] * (x.ndim - 1)) for x in (text.hidden, text.pooled)))
        return self.record_latents(noised, text, when, draws=draws, layers=layers, stop_early=stop_early)

    @torch.no_grad()
    def record_latents(
        self,
        latents: torch.Tensor,
        text: TextTokens,
        timesteps: torch.Tensor,
        *,
        draws: int = 1,
        layers: Sequence[int] | None = None,
        stop_early: bool = True,
    ) -> Recording:
        """Record latents [draws * B, c, h, w] that are already noised to timesteps [draws * B]."""
        layers = self.card.layers if layers is None else tuple(layers)
        grid = self.family.grid(latents)
        streams, prediction = record_streams(
            self.transformer,
            self.family.blocks(self.transformer),
            self.family.inputs(self.transformer, latents, text, timesteps, self.card.guidance),
            image_tokens=grid.tokens,
            text_first=self.family.text_first,
            last_layer=max(layers),
            stop_early=stop_early,
        )
        tensor = None if prediction is None else prediction[0]

        def ask(vocabulary: Vocabulary, recording: Recording) -> list[Stream]:
            return self.ask_at(vocabulary, recording, self.card.guidance)

        return Recording(grid, draws, tuple(layers), tuple(streams), timesteps, tensor, ask)

    @torch.no_grad()
    def ask_at(self, vocabulary: Vocabulary, recording: Recording, guidance: float) -> list[Stream]:
        """The concept streams for a recording; `Recording.ask` calls this."""
        words = self.text.concepts(vocabulary.concepts, self.card.phrase_pooling)
        rows = recording.streams[0].key.shape[0]
        concepts = TextTokens(
            self._placed(words.hidden).expand(rows, -1, -1), self._placed(words.pooled).expand(rows, -1)
        )
        return ask_streams(
            self.transformer,
            self.family.blocks(self.transformer),
            self.family.ask_inputs(self.transformer, concepts, recording.timesteps, guidance),
            recording.streams,
            concepts=concepts.hidden.shape[1],
            text_first=self.family.text_first,
        )

    def maps(self, images: Pictures, vocabulary: Vocabulary, *, seed: int | Sequence[int] = 0) -> torch.Tensor:
        """Record, ask and read in one: class maps [B, K, H, W] in the pictures' own size, at the card's settings."""
        batch = as_tensor(images)
        features = self.record(batch, seed=seed).ask(vocabulary)
        return resize_out(features.maps(space=self.card.space), *batch.shape[-2:])

    def _placed(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.device, self.dtype)

    @staticmethod
    def _noise(shape: torch.Size, seed: int, samples: int) -> torch.Tensor:
        """[samples, 1, c, h, w] standard normal noise, the same on every device."""
        return torch.randn(samples, 1, *shape, generator=torch.Generator().manual_seed(seed))
