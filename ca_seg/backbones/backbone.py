"""A frozen diffusion transformer that records images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.ask_pass import AskPass
from ca_seg.backbones.computing_type import computing_type
from ca_seg.backbones.families.base import Family, TextTokens
from ca_seg.backbones.images import Images, as_tensor, resize_in, resize_out
from ca_seg.backbones.loading.card import Card
from ca_seg.backbones.noise import noise_levels, noised_latents
from ca_seg.backbones.prompt import prompts_of
from ca_seg.backbones.record_pass import RecordPass
from ca_seg.backbones.text.encoder import TextEncoder, WordTableText
from ca_seg.concept.grid import Grid
from ca_seg.concept.known_words import KnownWords
from ca_seg.concept.linears import AskLinears, Modulation
from ca_seg.concept.prompt_attention import Tokens
from ca_seg.concept.record import Stream, batch_rows
from ca_seg.concept.recording import Recording
from ca_seg.errors import OutOfRange, UserError
from ca_seg.seed_range import seeds_of
from ca_seg.vocabulary import Vocabulary, Words, as_vocabulary

MORE_LAYERS = "load_backbone reads the blocks up to the card's last layer; give a later last_layer"


class Backbone(nn.Module):
    """The transformer, autoencoder and text encoder of one card. Get one from `load_backbone`.

    It is always frozen: no parameter requires a gradient, and `.train()` leaves it in eval mode.

    Example:
        >>> backbone = ca_seg.load_backbone("mini")
        >>> backbone.maps(image, ["cat", "grass"])  # [1, 2, H, W]
        >>> recording = backbone.record(image)  # or step by step: run the image once ...
        >>> recording.ask(["cat", "grass"]).maps()  # ... and ask for any words
    """

    def __init__(
        self,
        card: Card,
        family: Family,
        transformer: Any,
        autoencoder: Any,
        text: TextEncoder,
        scheduler: Any,
    ) -> None:
        super().__init__()
        self.card, self.family, self.text, self.scheduler = card, family, text, scheduler
        self.transformer: Any = transformer
        self.autoencoder: Any = autoencoder
        self._linears: tuple[Any, AskLinears] | None = None  # and the transformer that they belong to
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stays in eval mode: a frozen backbone must not change with the training of a head."""
        return super().train(False)

    @property
    def layers(self) -> int:
        """The number of joint attentions that are loaded."""
        return len(self.family.blocks(self.transformer))

    @property
    def device(self) -> torch.device:
        """The device of inputs. It is the autoencoder's: the weights of an offloaded transformer may be elsewhere."""
        parameter: torch.Tensor = next(chain(self.autoencoder.parameters(), self.autoencoder.buffers()))
        return parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the transformer computes (quantised weights, and those that are stored smaller, differ)."""
        return computing_type(self.transformer)

    @torch.no_grad()
    def encode(self, images: Images) -> torch.Tensor:
        """Images to clean latents at the card's resolution.

        Args:
            images: see `images.as_tensor`; for video families also clips [B, 3, F, H, W]

        Returns:
            [B, c, h, w]; for video families [B, c, frames, h, w], where an image is a video of one frame

        Raises:
            UserError: for something that is not an image, or a clip for a family of images
        """
        batch = as_tensor(images)
        if batch.ndim == 5 and not self.family.video:
            raise UserError(f"{self.card.name} takes images, not videos", fix="give [B, 3, H, W]")
        batch = resize_in(batch, self.card.resolution, self.card.multiple, self.family.frames_per_latent)
        if self.family.video and batch.ndim == 4:
            batch = batch[:, :, None]
        return self.family.encode(self.autoencoder, (2 * batch - 1).to(self.device, self.dtype))

    @torch.no_grad()
    def record(
        self,
        images: Images,
        *,
        prompt: str | Sequence[str] = "",
        prompt_phrases: Sequence[Sequence[str]] | None = None,
        timesteps: float | Sequence[float] | None = None,
        noise_samples: int | None = None,
        layers: Sequence[int] | None = None,
        seed: int | Sequence[int] = 0,
        queries: bool = False,
        known: KnownWords | None = None,
        stop_early: bool = True,
    ) -> Recording:
        """Run the images through the transformer once and keep their attention.

        Every image is noised to every timestep with every noise sample; all copies run in one batch.

        Args:
            images: see `images.as_tensor`
            prompt: one text for all images, or one per image
            prompt_phrases: for each image the phrases that its prompt is made of, in order and joined by ", "; the
                attention to them is kept too (needed for readers of the prompt)
            timesteps: noise levels, 0 (clean) to 1 (noise); default: the card's
            noise_samples: noise samples per image and timestep; default: the card's
            layers: the joint attentions that maps will read; the pass ends after the last one. Default: the card's
            seed: of the noise; one number, or one per image, so that an image's noise does not depend on its batch
            queries: keep the image's queries too (needed for `image_output="concepts"`)
            known: words that will be asked, if they are known already. Each layer is then asked right after it was
                recorded, and its keys and values are not kept: the recording takes much less memory, and can be asked
                nothing else. Not together with `queries` or `prompt_phrases`
            stop_early: end the pass after the last layer; otherwise the model's prediction is kept as well

        Raises:
            OutOfRange: for a layer, timestep, seed or number of samples out of range
            UserError: for images, seeds or prompts that do not fit, and for `known` with what needs all layers

        Example:
            >>> recording = backbone.record(image, timesteps=[0.4, 0.6])
            >>> recording.ask(["cat", "grass"]).maps()
        """
        layers = self.card.layers if layers is None else tuple(layers)
        if not layers or min(layers) < 0 or max(layers) >= self.layers:
            raise OutOfRange(
                f"layers {list(layers)} of {self.card.name}", allowed=f"0 to {self.layers - 1}", fix=MORE_LAYERS
            )
        times, noise_samples = noise_levels(self.card, timesteps, noise_samples)
        latents = self.encode(images)
        batch, copies = len(latents), noise_samples * len(times)
        levels, seeds = torch.tensor(times, device=latents.device, dtype=latents.dtype), seeds_of(seed, batch)
        noised = noised_latents(self.family, self.scheduler, latents, levels, noise_samples, seeds)
        noised = self.family.with_picture(self.transformer, noised, torch.cat([latents] * copies))
        prompts = prompts_of(prompt, prompt_phrases, batch)
        pairs = zip(prompts, prompt_phrases, strict=True) if prompt_phrases else ()
        tokens = [self.text.phrase_tokens(text, phrases) for text, phrases in pairs]
        text = self.text.prompt(prompts).each(lambda x: self._on_device(x).repeat(copies, *[1] * (x.ndim - 1)))
        return self.record_latents(
            noised,
            text,
            levels.repeat_interleave(noise_samples * batch),
            noised_copies=copies,
            layers=layers,
            queries=queries,
            known=known,
            stop_early=stop_early,
            prompt_tokens=tokens * copies or None,
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
        known: KnownWords | None = None,
        stop_early: bool = True,
        prompt_tokens: Sequence[Tokens] | None = None,
    ) -> Recording:
        """Record latents that are already noised.

        Args:
            latents: [copies * B, c, h, w] (frames before h for a video), copy by copy
            text: the prompt of every row
            timesteps: [copies * B], 0 (clean) to 1 (noise)
            noised_copies: how many copies of each image there are
            layers, queries, known, stop_early: as in `record`
            prompt_tokens: by row, the tokens of each phrase of its prompt, to keep the attention to them;
                not together with `known`
        """
        if known is not None:
            known.check_alone(queries=queries, prompt=prompt_tokens is not None)
        layers = self.card.layers if layers is None else tuple(layers)
        family, transformer = self.family, self.transformer
        inputs = family.inputs(transformer, latents, text, timesteps, self.card.guidance)
        grid = family.grid(transformer, inputs)
        call, modulation = family.concept_inputs(transformer, inputs), Modulation()
        record = RecordPass(family, transformer, inputs, grid, layers, stop_early)
        if known is None:
            recorded = record.for_any_words(queries=queries, prompt_tokens=prompt_tokens)
        else:
            words = known.vocabularies
            ask = self._ask_pass(words, call, grid, len(latents), modulation) if words else None
            recorded = record.for_known_words(known, ask)
        return Recording(
            grid=grid,
            noised_copies=noised_copies,
            layers=layers,
            streams=recorded.streams,
            call=call,
            prediction=recorded.prediction,
            concept_pass=self.ask,
            words_apart=family.words_apart,
            modulation=modulation,
            known=known,
            answers=recorded.answers,
            prompt=recorded.prompt,
        )

    @torch.no_grad()
    def ask(
        self,
        vocabularies: Sequence[Vocabulary],
        recording: Recording,
        concept_attention: str = "both",
        images: tuple[slice, ...] = (),
    ) -> list[list[Stream]]:
        """The concept streams of each vocabulary, layer by layer, for a recording; see `ConceptPass`."""
        rows = recording.noised_copies if images else batch_rows(recording.streams)
        ask = self._ask_pass(vocabularies, recording.call, recording.grid, rows, recording.modulation)
        return ask.of_images(images).answers(recording.streams, concept_attention)

    def unseen(self, vocabulary: Words) -> dict[str, str] | None:
        """The phrases with a word that training never taught, each with the taught word that is nearest in meaning.

        Args:
            vocabulary: a word, a list of words, a dict of class to phrases, or a Vocabulary

        Returns:
            Phrase to taught word; empty where all were taught, None where it is not known what training taught (a card
            without `taught_words`, other weights than the card's).

        Raises:
            UnknownName: for words that the backbone's word table does not have, all of them at once

        Example:
            >>> ca_seg.load_backbone("mini").unseen(["cat", "automobile"])
            {'automobile': 'car'}
        """
        phrases = as_vocabulary(vocabulary).concepts
        return self.text.unseen(phrases) if isinstance(self.text, WordTableText) else None

    def maps(self, images: Images, vocabulary: Words, *, seed: int | Sequence[int] = 0) -> torch.Tensor:
        """Probability maps of words in images, with the card's settings: record, ask and read in one call.

        Args:
            images: see `images.as_tensor`
            vocabulary: a word, a list of words, a dict of class to phrases, or a Vocabulary
            seed: of the noise; one number, or one per image

        Returns:
            [B, K, H, W] in the size of the images, sums to 1 over the K classes; for a clip [B, K, F, H, W]

        Raises:
            UserError: for something that is not an image, or not words

        Example:
            >>> backbone.maps(Image.open("photo.jpg"), ["cat", "grass"]).argmax(1)
        """
        vocabulary, batch = as_vocabulary(vocabulary), as_tensor(images)
        known = KnownWords((vocabulary,), self.card.space)
        maps = self.record(batch, seed=seed, known=known).ask(vocabulary).maps(space=self.card.space)
        frames, per_latent = batch.shape[2] if batch.ndim == 5 else None, self.family.frames_per_latent
        return resize_out(maps, *batch.shape[-2:], frames=frames, frames_per_latent=per_latent)

    def _ask_pass(
        self, vocabularies: Sequence[Vocabulary], call: dict[str, Any], grid: Grid, rows: int, modulation: Modulation
    ) -> AskPass:
        """Modulation is read from `modulation`, or added to it."""
        phrases = [phrase for vocabulary in vocabularies for phrase in vocabulary.concepts]
        words = self.text.concepts(phrases, self.card.phrase_pooling)
        linears = self._ask_linears().reading(modulation.of(words.pooled))
        groups = tuple(len(vocabulary.concepts) for vocabulary in vocabularies)
        tokens = words.each(self._on_device)
        return AskPass.over(tokens, groups, call, grid, rows, self.family, self.transformer, linears)

    def _ask_linears(self) -> AskLinears:
        if self._linears is None or self._linears[0] is not self.transformer:
            self._linears = self.transformer, self.family.ask_linears(self.transformer)
        return self._linears[1]

    def _on_device(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.device, self.dtype if x.is_floating_point() else x.dtype)
