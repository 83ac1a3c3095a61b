"""Features of a frozen backbone: what a head reads of the recorded and asked images.

Four parts, side by side in the channels, in this order whatever the order they are named in:

    pixels     the colours of each token's own pixels                    3 x stride x stride
    outputs    image attention outputs, every channel of the model       timesteps x layers x width
    concepts   their products with every phrase's vector: the design's   timesteps x layers x phrases
               concept-projected features
    maps       the zero-shot class maps, as `eval.py` reads them         classes

Several timesteps and layers stand side by side; noise samples of a timestep are averaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pixel_unshuffle

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import resize_in
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.record import Stream
from ca_seg.concept.recording import Recording
from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary

PARTS = ("pixels", "outputs", "concepts", "maps")


class FrozenFeatures:
    """A `FeatureSource`: a backbone, read by `reading` for the words of `vocabulary`.

    Without a vocabulary nothing is asked, and pixels and stock outputs are all there is. Raises UnknownName for a part,
    UserError for no part, for a part that needs words where there are none, or for a reading that mirrors images
    (maps only have that).
    """

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: Vocabulary | None,
        *,
        parts: Sequence[str] = ("concepts",),
        readout: ReadoutConfig | None = None,
    ) -> None:
        for part in parts:
            if part not in PARTS:
                raise UnknownName("part of features", part, PARTS)
        if not parts:
            raise UserError("no part of features was named", allowed=", ".join(PARTS))
        self.backbone, self.vocabulary = backbone, vocabulary
        self.readout = readout or ReadoutConfig()
        if self.readout.flip:
            raise UserError("features of flipped images are not averaged", fix="leave flip false")
        self.parts = tuple(part for part in PARTS if part in parts)
        asking = [part for part in self.parts if part in ("concepts", "maps") or self.readout.image_output != "stock"]
        if vocabulary is None and asking:
            raise UserError(f"the features {asking[0]!r} need words", fix="name what to look for")
        self.name = backbone.card.name
        self._times = len(self.readout.timesteps or (backbone.card.timestep,))
        self.stride = backbone.card.multiple
        self.maps = len(vocabulary.classes) if vocabulary and "maps" in self.parts else 0
        layers = self._times * len(self.readout.layers or backbone.card.layers)
        widths = {
            "pixels": lambda: 3 * self.stride**2,
            "outputs": lambda: layers * self._width(),
            "concepts": lambda: layers * len(vocabulary.concepts) if vocabulary else 0,
            "maps": lambda: self.maps,
        }
        self.channels = sum(widths[part]() for part in self.parts)

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Images [B, 3, H, W] in 0..1, one seed each, to float32 [B, channels, h, w] without a gradient."""
        with torch.no_grad():
            read = self.readout.record(self.backbone, images, seeds)
            asked = None if self.vocabulary is None else read.ask(self.vocabulary)
            image = read.recording.streams if asked is None else asked.image
            made = {
                "pixels": lambda: self._pixels(images).to(read.recording.streams[0].output.device),
                "outputs": lambda: self._outputs(read.recording, image),
                "concepts": lambda: self._concepts(asked, read.space),
                "maps": lambda: read.maps_of(asked),
            }
            return torch.cat([made[part]().float() for part in self.parts], dim=1)

    def identity(self) -> dict[str, Any]:
        own = self.vocabulary
        words = own and {"classes": list(own.classes), "phrases": [list(phrases) for phrases in own.phrases]}
        return {
            "backbone": self.name,
            "weights": weights_digest(self.backbone.transformer, self.backbone.autoencoder),
            "parts": list(self.parts),
            "reading": self.readout.resolved(self.backbone),
            "vocabulary": words,
        }

    def to(self, device: torch.device) -> None:
        self.backbone.to(device)

    def _pixels(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3 * stride^2, h, w]: the colours of each token's pixels."""
        return pixel_unshuffle(resize_in(images, self.backbone.card.resolution, self.stride), self.stride)

    def _concepts(self, asked: ConceptFeatures, space: str) -> torch.Tensor:
        """[B, timesteps * layers * C, h, w]."""
        each = [asked.scores(layer, space=space, normalise=self.readout.normalise) for layer in asked.layers]
        return self._fused(torch.stack(each, dim=1))

    def _outputs(self, recording: Recording, image: Sequence[Stream]) -> torch.Tensor:
        """[B, timesteps * layers * width, h, w], normalised as the reading says."""
        each = []
        for layer in recording.layers:
            vectors = image[layer].output.float().transpose(1, 2).flatten(2)  # [draws * B, N, width]
            if self.readout.normalise == "token":
                vectors = nn.functional.normalize(vectors, dim=2, eps=1e-6)
            elif self.readout.normalise == "channel":
                vectors = vectors / vectors.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
            each.append(recording.grid.unflatten(vectors.transpose(1, 2)).unflatten(0, (recording.noised_copies, -1)))
        return self._fused(torch.stack(each, dim=1))

    def _fused(self, stacked: torch.Tensor) -> torch.Tensor:
        """[timesteps * samples, layers, B, c, h, w] to [B, timesteps * layers * c, h, w]."""
        times = stacked.unflatten(0, (self._times, -1)).mean(dim=1)
        return times.permute(2, 0, 1, 3, *range(4, times.ndim)).flatten(1, 3)

    def _width(self) -> int:
        """Channels of one attention output, by looking at one: families keep that number in different places."""
        gray = torch.full((1, 3, self.backbone.card.multiple, self.backbone.card.multiple), 0.5)
        output = self.backbone.record(gray, layers=[0], noise_samples=1, timesteps=0.5).streams[0].output
        return output.shape[1] * output.shape[3]


def weights_digest(*modules: nn.Module) -> str:
    """A short name for the weights themselves, wherever they came from: names, shapes and 64 values of each tensor.

    So a finetune, another quantisation or fresh weights are told apart without reading gigabytes.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            if not isinstance(tensor, torch.Tensor):
                continue  # what quantised layers keep beside their weights
            flat = tensor.detach().flatten()
            seen = flat[:: max(1, len(flat) // 64)][:64].cpu()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            digest.update(seen.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
