"""The paper's ablations on any dataset: all entries of all tables, read from recordings that are made once per image.

image at the card's timestep ──► record (all layers, most noise samples) ──► ask ──► spaces, layers, noise samples, ...
                                                                         └──► ask with cross, self, none
image at another timestep    ──► record ──► ask ──► one entry; the same for another resolution
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn.functional import one_hot

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.caption_prompt import caption_prompts
from ca_seg.backbones.other_card import with_resolution
from ca_seg.backbones.prompt import Prompt
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import ALL, CAPTIONER, CONCEPT_ATTENTION, NO_PROMPT, NORMALISE, PRESENT, SPACES
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.frequency import high_frequency_ratio
from ca_seg.concept.recording import Recording
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.evaluation.reader_experiments import readings
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.predictors.pad_tokens import pad_clusters, padding
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary, check_template

Tables = dict[str, dict[str, dict[str, float]]]  # figures by table, entry and name


@dataclass(frozen=True)
class AblationGrid:
    """What is varied. Each setting is varied on its own; the others are those of the card.

    Args:
        timesteps: noise levels, each on its own, and for each image the one with the finest features
        noise_samples: how many noise samples are averaged
        resolutions: pixels of the short side; None: half, once and twice that of the card
        layers: read each layer alone
        spaces: read each space, with and without softmax
        concept_attention: let concepts attend to both (concepts and image), cross, self and none
        normalise: normalise vectors in each way, with attention heads joined and apart
        readers: read maps in each published way, on the card's layers together and on each alone
        templates: sentences with {} for a phrase, each on its own, and the mean of their maps
        pad: the attention to the padding of an empty prompt as parts of the image, where the backbone pads its prompts;
            each part has the class of the ground truth that it covers most, so only part borders are scored
        prompt: give the model no prompt, the words that are asked, the words of the ground truth, and a caption where
            there is a captioner
    """

    timesteps: list[float] = field(default_factory=lambda: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    noise_samples: list[int] = field(default_factory=lambda: [1, 2, 4])
    resolutions: list[int] | None = None
    layers: bool = True
    spaces: bool = True
    concept_attention: bool = True
    normalise: bool = True
    readers: bool = True
    templates: list[str] = field(default_factory=lambda: ["{}", "a photo of a {}"])
    pad: bool = True
    prompt: bool = True

    def __post_init__(self) -> None:
        for template in self.templates:
            check_template(template)

    def sides(self, resolution: int) -> list[int]:
        """The resolutions, for a card of this resolution."""
        return [resolution // 2, resolution, 2 * resolution] if self.resolutions is None else self.resolutions


class AblationScores:
    """Confusion matrices by table and entry, under both protocols."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.all_words = Vocabulary.from_names(self.classes)
        self.matrices: dict[str, dict[str, tuple[ConfusionMatrix, ConfusionMatrix]]] = {}

    def add(self, table: str, entry: str, mask: torch.Tensor, oracle: torch.Tensor, full: torch.Tensor) -> None:
        """Count one image.

        Args:
            table: the setting that is varied
            entry: its value
            mask: ground truth [H, W]
            oracle: class maps [1, K', h, w] of the K' classes that the mask shows, in the order of their indices
            full: class maps [1, K, h, w] of all classes
        """
        entries = self.matrices.setdefault(table, {})
        if entry not in entries:
            entries[entry] = (ConfusionMatrix(len(self.classes)), ConfusionMatrix(len(self.classes)))
        oracle_matrix, full_matrix = entries[entry]
        oracle_matrix.update(present_classes(mask)[predict_mask(oracle, *mask.shape).mask[0]], mask)
        full_matrix.update(predict_mask(full, *mask.shape).mask[0], mask)

    def figures(self) -> Tables:
        """{table: {entry: {oracle_miou, oracle_accuracy, full_miou, full_accuracy}}}, all 0..1."""
        return {
            table: {
                entry: {
                    f"{protocol}_{name}": float(figure(matrix.compute()))
                    for protocol, matrix in zip(("oracle", "full"), matrices, strict=True)
                    for name, figure in (("miou", miou), ("accuracy", pixel_accuracy))
                }
                for entry, matrices in entries.items()
            }
            for table, entries in self.matrices.items()
        }


def present_classes(mask: torch.Tensor) -> torch.Tensor:
    """The indices of the classes that a mask shows, ascending."""
    return mask[mask != IGNORE_INDEX].unique()


def named_by_ground_truth(parts: torch.Tensor, mask: torch.Tensor, classes: int) -> torch.Tensor:
    """Class maps [1, K, h, w] of parts [h, w]: each has the class that it covers most pixels of; an oracle.

    Args:
        parts: numbers 0, 1 ... on the grid of tokens
        mask: ground truth [H, W]; void counts for no class
        classes: K
    """
    part_maps = one_hot(parts.cpu()).permute(2, 0, 1).float()
    pixels = predict_mask(part_maps[None], *mask.shape).mask[0].long()
    known = mask != IGNORE_INDEX
    counts = torch.bincount(pixels[known] * classes + mask[known], minlength=len(part_maps) * classes)
    named = counts.view(len(part_maps), classes).argmax(dim=1)
    return torch.zeros(classes, *parts.shape).index_add(0, named, part_maps)[None]


@torch.no_grad()
def ablate_image(
    backbone: Backbone,
    sample: Mapping[str, Any],
    grid: AblationGrid,
    scores: AblationScores,
    seed: int,
    captioner: str | None = None,
) -> bool:
    """Add every entry of one image (a sample of a dataset) to `scores`; False where its mask shows no class."""
    if len(present_classes(sample["mask"])) == 0:
        return False
    _ImageAblation(backbone, sample, grid, scores, seed, captioner).run()
    return True


class _ImageAblation:
    """One image: it is recorded at each timestep and resolution, and each recording is asked both vocabularies."""

    def __init__(
        self,
        backbone: Backbone,
        sample: Mapping[str, Any],
        grid: AblationGrid,
        scores: AblationScores,
        seed: int,
        captioner: str | None,
    ) -> None:
        self.backbone, self.grid, self.scores, self.captioner = backbone, grid, scores, captioner
        self.image, self.mask = sample["image"], sample["mask"]
        self.seed = image_seed(seed, sample["image_id"])
        self.present = present_classes(self.mask)
        names = [scores.classes[index] for index in self.present.tolist()]
        self.vocabularies = (Vocabulary.from_names(names), scores.all_words)

    def run(self) -> None:
        card, grid = self.backbone.card, self.grid
        recording = self.record(card.timestep, max(grid.noise_samples, default=1))
        for count in grid.noise_samples:
            self.add("samples", str(count), self.ask(recording.first_noised_copies(count)), layers=card.layers)
        recording = recording.first_noised_copies(1)
        self.add_readouts(self.ask(recording))
        self.add_templates(recording)
        for attention in CONCEPT_ATTENTION if grid.concept_attention else ():
            features = self.ask(recording, concept_attention=attention)
            self.add("concept attention", attention, features, layers=card.layers)
        self.add_timesteps()
        for side in grid.sides(card.resolution):
            resized = with_resolution(self.backbone, side)
            recording = resized.record(self.image, layers=card.layers, noise_samples=1, seed=self.seed)
            self.add("resolution", str(side), self.ask(recording))
        if grid.readers or grid.prompt:
            self.add_readers()
        if grid.pad and not self.backbone.family.video and len(padding(self.backbone)) > 1:
            parts = pad_clusters(self.backbone, self.image[None], ReadoutConfig(noise_samples=1), self.seed)
            full = named_by_ground_truth(parts, self.mask, len(self.scores.classes))
            self.scores.add("parts", "by padding, named by the ground truth", self.mask, full[:, self.present], full)

    def add_timesteps(self) -> None:
        """Each timestep, and for each image the one whose outputs have the most of high frequencies."""
        layers, highest, chosen = self.backbone.card.layers, -1.0, None
        for timestep in self.grid.timesteps:
            recording = self.record(timestep, 1)
            features = self.ask(recording)
            self.add("timestep", f"{timestep:g}", features, layers=layers)
            ratio = float(high_frequency_ratio(recording, layers))
            if ratio > highest:
                highest, chosen = ratio, features
        if chosen is not None:
            self.add("timestep by image", "highest high-frequency ratio", chosen, layers=layers)

    def add_templates(self, recording: Recording) -> None:
        """Each template, and the mean of the maps of all."""
        card, maps = self.backbone.card, []
        for template in self.grid.templates:
            asked = (recording.ask(words.in_template(template)) for words in self.vocabularies)
            maps.append([features.maps(space=card.space, layers=card.layers) for features in asked])
            self.scores.add("template", template, self.mask, *maps[-1])
        if len(maps) > 1:
            mean = (torch.stack(each).mean(dim=0) for each in zip(*maps, strict=True))
            self.scores.add("template", "mean of all", self.mask, *mean)

    def add_readers(self) -> None:
        """The tables of readers and prompts: an image is recorded once with each prompt, and anew for `all`."""
        card, oracle = self.backbone.card, self.vocabularies[0]
        prompts = {NO_PROMPT: (None, None), ALL: self.vocabularies, PRESENT: (oracle, oracle)}
        for prompt, in_prompt in prompts.items():
            if prompt == PRESENT and not self.grid.prompt:
                continue
            features = self.prompted(in_prompt)
            for table, entry, layers, maps in readings(self.grid, prompt, card, self.backbone.layers):
                of_layers = (replace(part, layers=tuple(layers)) for part in features)
                self.scores.add(table, entry, self.mask, *(maps(part) for part in of_layers))
        if self.grid.prompt and self.captioner is not None:
            backbone, image = self.backbone, self.image[None]
            (caption,) = caption_prompts(self.captioner, image, backbone.text, backbone.device, None)
            captioned = self.record(card.timestep, 1, caption.text)
            self.add("prompt", CAPTIONER, self.ask(captioned), layers=card.layers, space=card.space)

    def prompted(
        self, in_prompt: tuple[Vocabulary | None, Vocabulary | None]
    ) -> tuple[ConceptFeatures, ConceptFeatures]:
        """The features of both vocabularies, each with the words of another in the prompt, or without a prompt."""
        recordings: dict[tuple[str, ...] | None, Recording] = {}
        for words in in_prompt:
            phrases = None if words is None else words.concepts
            if phrases not in recordings:
                recordings[phrases] = self.backbone.record(
                    self.image,
                    prompt=Prompt.of_phrases(phrases or ()).text,
                    prompt_phrases=None if phrases is None else [phrases],
                    layers=range(self.backbone.layers),
                    noise_samples=1,
                    seed=self.seed,
                    queries=True,
                )
        first, second = (recordings[None if words is None else words.concepts] for words in in_prompt)
        return first.ask(self.vocabularies[0]), second.ask(self.vocabularies[1])

    def add_readouts(self, features: tuple[ConceptFeatures, ConceptFeatures]) -> None:
        """The tables that need no further recording: spaces, layers and normalisation."""
        card, grid = self.backbone.card, self.grid
        all_layers = range(self.backbone.layers)
        for space in SPACES if grid.spaces else ():
            for softmax in (True, False):
                entry = f"{space}, {'softmax' if softmax else 'raw'}"
                self.add("space", entry, features, space=space, softmax=softmax, layers=card.layers)
        for layer in all_layers if grid.layers else ():
            for space in ("output", "cross-attention"):
                self.add(f"layer, {space}", str(layer), features, space=space, layers=[layer])
        if grid.layers:
            self.add("layer, output", "all", features, layers=all_layers)
        for normalise in NORMALISE if grid.normalise else ():
            for per_head in (False, True):
                entry = f"{normalise}, heads {'apart' if per_head else 'joined'}"
                self.add("normalisation", entry, features, normalise=normalise, per_head=per_head, layers=card.layers)

    def record(self, timestep: float, noise_samples: int, prompt: str = "") -> Recording:
        layers = range(self.backbone.layers)
        return self.backbone.record(
            self.image, prompt=prompt, timesteps=timestep, noise_samples=noise_samples, layers=layers, seed=self.seed
        )

    def ask(self, recording: Recording, **options: Any) -> tuple[ConceptFeatures, ConceptFeatures]:
        """The features of the classes that are present, and of all classes."""
        present, everything = self.vocabularies
        return recording.ask(present, **options), recording.ask(everything, **options)

    def add(self, table: str, entry: str, features: tuple[ConceptFeatures, ConceptFeatures], **readout: Any) -> None:
        oracle, full = (part.maps(**readout) for part in features)
        self.scores.add(table, entry, self.mask, oracle, full)
