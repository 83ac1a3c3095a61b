"""Features of a frozen backbone: what a head reads of images that were recorded and asked.

Six parts, concatenated along the channels in this order, whatever the order in which they are named:

    pixels     the colours of each token's own pixels                    3 x stride x stride
    latents    the autoencoder's latents, clean: what the transformer    latent channels x patch x patch
               is given before noise is added
    outputs    image attention outputs, every channel of the model       timesteps x layers x width
    concepts   products of the outputs with every phrase's vector        timesteps x layers x phrases
               (concept-projected features)
    contrasts  the same less their mean over the phrases. Most of a      timesteps x layers x phrases
               product is the same for every phrase; what a softmax over
               the phrases sees, and what float16 would lose, is the rest
    maps       the zero-shot class maps, as an evaluation reads them     classes

Timesteps and layers are concatenated; the noise samples of a timestep are averaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pixel_unshuffle

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import resize_in
from ca_seg.backbones.prompt import check_prompt
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.captioner import captioner_named
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.grid import Grid
from ca_seg.concept.normalise import channel_rms, massive_channels
from ca_seg.concept.recording import Recording
from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Words, as_vocabulary

PARTS = ("pixels", "latents", "outputs", "concepts", "contrasts", "maps")
WORDS = ("concepts", "contrasts", "maps")  # the parts that need words
GRAY = torch.full((1, 3, 16, 16), 0.5)  # an image of any size
LAYERED = ("outputs", "concepts", "contrasts")  # the parts that every layer has


class FrozenFeatures:
    """A `FeatureSource`: what a backbone gives for images, and for words where there are some.

    Args:
        backbone: the frozen model
        vocabulary: the words that the backbone is asked for; None: only `pixels`, `latents` and stock `outputs` are
            available
        parts: names from `PARTS`
        readout: layers, timesteps, normalisation and the other options of reading; None: as the backbone's card says

    Raises:
        UnknownName: for an unknown part
        UserError: for no part, for a part that needs words where there are none, or for a readout that averages over
            the flipped image (only maps can be averaged so)
    """

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: Words | None,
        *,
        parts: Sequence[str] = ("contrasts",),
        readout: ReadoutConfig | None = None,
    ) -> None:
        for part in parts:
            if part not in PARTS:
                raise UnknownName("part of features", part, PARTS)
        if not parts:
            raise UserError("no part of features was named", allowed=", ".join(PARTS))
        self.backbone, self.readout = backbone, readout or ReadoutConfig()
        self.vocabulary = None if vocabulary is None else as_vocabulary(vocabulary)
        if self.readout.flip:
            raise UserError("features of flipped images are not averaged", fix="leave flip false")
        if self.readout.templates:
            raise UserError("features of several templates are not averaged", fix="leave templates out")
        check_prompt(self.readout.prompt, self.readout.captioner, ground_truth=False)
        self.parts = tuple(part for part in PARTS if part in parts)
        asking = [part for part in self.parts if part in WORDS or self.readout.image_output != "stock"]
        if self.vocabulary is None and asking:
            raise UserError(f"the features {asking[0]!r} need words", fix="name what to look for")
        if self.vocabulary is None and self.readout.records_words:
            raise UserError("the prompt is made of words, and there are none", fix="name what to look for")
        products = [part for part in self.parts if part in ("concepts", "contrasts")]
        if products and self.readout.reader != "concepts":
            raise UserError(
                f"the features {products[0]!r} with the reader {self.readout.reader!r}",
                allowed="the reader 'concepts', or the features 'maps'",
            )
        if "contrasts" in products and self.vocabulary is not None and len(self.vocabulary.concepts) < 2:
            raise UserError(
                "the features 'contrasts' compare phrases, and there is one", fix="name another word, or use 'concepts'"
            )
        self.name = backbone.card.name
        self.stride = backbone.card.multiple
        self.maps = len(self.vocabulary.classes) if self.vocabulary and "maps" in self.parts else 0
        self._times = self.readout.timesteps_read
        self.layer_channels = self._times * self._channels_per_timestep()
        layers = len(self.readout.layers or backbone.card.layers)
        pixels = 3 * self.stride**2 if "pixels" in self.parts else 0
        latents = self._latent_channels() if "latents" in self.parts else 0
        self.channels = pixels + latents + layers * self.layer_channels + self.maps

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Features of a batch.

        Args:
            images: float [B, 3, H, W] in 0..1
            seeds: one per image; they fix the noise

        Returns:
            float32 [B, channels, h, w], without a gradient
        """
        if self.readout.prompt_by_image and len(images) > 1:
            return torch.cat([self(image[None], [seed]) for image, seed in zip(images, seeds, strict=True)])
        with torch.no_grad():
            readout = self._record(self.readout, images, seeds)
            asked = self._ask(readout)
            parts = []
            for part in self.parts:
                if part == "pixels":
                    parts.append(self._pixels(images).to(self.device))
                elif part == "latents":
                    parts.append(self._latents(images, readout.recording.grid))
                elif part == "maps" and asked is not None:
                    parts.append(readout.maps_of(asked))
                else:
                    parts.append(self._layered(part, readout, asked, readout.recording.layers))
            return torch.cat([part.float() for part in parts], dim=1)

    def layer_maps(
        self, images: torch.Tensor, seeds: Sequence[int], *, layers: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        """The features of each layer by itself, for decoders that read several depths.

        Args:
            images: float [B, 3, H, W] in 0..1
            seeds: one per image; they fix the noise
            layers: which joint attentions; None: those of the readout

        Returns:
            float32 [B, layer_channels, h, w] for each of `layers`, without a gradient

        Raises:
            UserError: there are parts that do not come layer by layer
        """
        if not set(self.parts) <= set(LAYERED):
            raise UserError(f"the features {', '.join(self.parts)} by layer", allowed=", ".join(LAYERED))
        if self.readout.prompt_by_image and len(images) > 1:
            rows = [self.layer_maps(i[None], [s], layers=layers) for i, s in zip(images, seeds, strict=True)]
            return [torch.cat(layer) for layer in zip(*rows, strict=True)]
        config = self.readout if layers is None else replace(self.readout, layers=tuple(layers))
        with torch.no_grad():
            readout = self._record(config, images, seeds)
            asked = self._ask(readout)
            return [
                torch.cat([self._layered(part, readout, asked, [layer]) for part in self.parts], dim=1)
                for layer in readout.recording.layers
            ]

    def check_words(self) -> None:
        """Encode the words now and not with the first batch. Raises UserError for one that the backbone lacks."""
        if self.vocabulary is not None:
            self.backbone.text.concepts(self.vocabulary.concepts, self.backbone.card.phrase_pooling)

    def identity(self) -> dict[str, Any]:
        words, captioner = self.vocabulary, self.readout.prompt_captioner
        prompts = captioner and captioner_named(captioner, str(self.device)).model
        return {
            "backbone": self.name,
            "weights": weights_digest(self.backbone.transformer, self.backbone.autoencoder),
            "parts": list(self.parts),
            "captioner": prompts and weights_digest(prompts),
            "readout": self.readout.resolved(self.backbone),
            "vocabulary": words and {"classes": list(words.classes), "phrases": [list(p) for p in words.phrases]},
        }

    def to(self, device: torch.device) -> None:
        self.backbone.to(device)

    def _record(self, config: ReadoutConfig, images: torch.Tensor, seeds: Sequence[int]) -> Readout:
        """With the words, where there are some: then no more is kept than what the parts read."""
        words = () if self.vocabulary is None else (self.vocabulary,)
        parts = ("output",) if "outputs" in self.parts else ()
        return config.record(self.backbone, images, seeds, vocabulary=self.vocabulary, words=words, parts=parts)

    def _ask(self, readout: Readout) -> ConceptFeatures | None:
        return None if self.vocabulary is None else readout.ask(self.vocabulary)

    def _pixels(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3 * stride^2, h, w]: the colours of each token's pixels."""
        return pixel_unshuffle(resize_in(images, self.backbone.card.resolution, self.stride), self.stride)

    def _latents(self, images: torch.Tensor, grid: Grid) -> torch.Tensor:
        """[B, c * patch^2, h, w]: the clean latents of each token."""
        latents = self.backbone.encode(images)
        if latents.ndim == 5:  # of a video of one frame
            latents = latents[:, :, 0]
        return pixel_unshuffle(latents, latents.shape[-1] // grid.width)

    def _layered(
        self, part: str, readout: Readout, asked: ConceptFeatures | None, layers: Sequence[int]
    ) -> torch.Tensor:
        """Outputs or concepts of `layers`: [B, timesteps * layers * c, h, w]."""
        if part in WORDS and asked is not None:
            normalise = self.readout.normalise
            maps = [asked.scores(layer, space=readout.space, normalise=normalise) for layer in layers]
            if part == "contrasts":  # copies, batch, phrases
                maps = [scores - scores.mean(dim=2, keepdim=True) for scores in maps]
        else:
            maps = [self._outputs(readout, asked, layer) for layer in layers]
        times = torch.stack(maps, dim=1).unflatten(0, (self._times, -1)).mean(dim=1)  # [times, layers, B, c, h, w]
        return times.permute(2, 0, 1, 3, *range(4, times.ndim)).flatten(1, 3)

    def _outputs(self, readout: Readout, asked: ConceptFeatures | None, layer: int) -> torch.Tensor:
        """Attention outputs of one layer [noised copies, B, width, h, w], normalised as the readout says."""
        recording = readout.recording
        streams = recording.streams if asked is None else asked.image
        vectors = streams[layer].part("output").float().transpose(1, 2).flatten(2)  # [noised copies * B, N, width]
        if self.readout.normalise == "token":
            vectors = nn.functional.normalize(vectors, dim=2, eps=1e-6)
        elif self.readout.normalise == "channel":
            vectors = vectors / channel_rms(vectors, dim=1)
        elif self.readout.normalise == "discard":
            vectors = vectors * ~massive_channels(vectors[:, None])[:, 0]
        return recording.grid.unflatten(vectors.transpose(1, 2)).unflatten(0, (recording.noised_copies, -1))

    def _channels_per_timestep(self) -> int:
        """Channels of one layer at one timestep."""
        outputs = self._width() if "outputs" in self.parts else 0
        products = sum(part in ("concepts", "contrasts") for part in self.parts)
        return outputs + (products * len(self.vocabulary.concepts) if self.vocabulary else 0)

    def _width(self) -> int:
        """Channels of one attention output."""
        output = self._gray().streams[0].part("output")
        return output.shape[1] * output.shape[3]

    def _latent_channels(self) -> int:
        return self._latents(GRAY, self._gray().grid).shape[1]

    def _gray(self) -> Recording:
        """A recording to measure: families keep the numbers of channels in different places."""
        return self.backbone.record(GRAY, layers=[0], noise_samples=1, timesteps=0.5)


def weights_digest(*modules: nn.Module) -> str:
    """A short name for the weights themselves, wherever they came from: names, shapes and 64 values of each tensor.

    It tells a finetune, another quantisation and random weights apart without reading gigabytes.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            if not isinstance(tensor, torch.Tensor):
                continue  # what quantised layers keep beside their weights
            flat = tensor.detach().flatten()
            sample = flat[:: max(1, len(flat) // 64)][:64].cpu()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            digest.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
