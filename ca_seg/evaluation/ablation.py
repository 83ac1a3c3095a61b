"""The paper's ablations on any dataset: every cell of a table is read from recordings made once.

image, t = card's   ──► record (all layers, most samples) ──► ask ──► space x softmax, layers, samples, heads
                                                         └──► ask with cross, self, none
image, other t      ──► record ──► ask ──► timestep by timestep; and resolution by resolution
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.concept.choices import CONCEPT_ATTENTION, NORMALISE, SPACES
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.recording import Recording
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.vocabulary import Vocabulary


@dataclass
class AblationGrid:
    """What is varied; each against the card's settings otherwise.

    Args:
        timesteps: each recorded on its own
        samples: noise samples averaged, up to the largest
        resolutions: pixels of the short side; null means half, once and twice the card's
        layers: whether each layer is read alone
        spaces: whether each space is read, with and without softmax
        concept_attention: whether concepts are asked with both, cross, self and none
        normalise: whether vectors are normalised in each way, and heads kept apart
    """

    timesteps: list[float] = field(default_factory=lambda: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    samples: list[int] = field(default_factory=lambda: [1, 2, 4])
    resolutions: list[int] | None = None
    layers: bool = True
    spaces: bool = True
    concept_attention: bool = True
    normalise: bool = True

    def sides(self, own: int) -> list[int]:
        return [own // 2, own, 2 * own] if self.resolutions is None else self.resolutions


def at_side(backbone: Backbone, side: int) -> Backbone:
    """The same backbone, its parts shared, at another resolution."""
    other = copy.copy(backbone)
    other.card = backbone.card.with_resolution(side)
    return other


class Tables:
    """Confusion matrices by table and cell, for both protocols."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.cells: dict[str, dict[str, tuple[ConfusionMatrix, ConfusionMatrix]]] = {}

    def add(
        self, table: str, cell: str, mask: torch.Tensor, oracle: torch.Tensor, full: torch.Tensor, present: torch.Tensor
    ) -> None:
        """One image's maps under both protocols."""
        pair = tuple(ConfusionMatrix(len(self.classes)) for _ in range(2))
        cells = self.cells.setdefault(table, {}).setdefault(cell, pair)
        cells[0].update(present[predict_mask(oracle, *mask.shape).mask[0]], mask)
        cells[1].update(predict_mask(full, *mask.shape).mask[0], mask)

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """{table: {cell: {oracle_miou, oracle_accuracy, full_miou, full_accuracy}}}, all 0..1."""
        return {
            table: {
                cell: {
                    f"{protocol}_{name}": float(figure(metric.compute()))
                    for protocol, metric in zip(("oracle", "full"), pair, strict=True)
                    for name, figure in (("miou", miou), ("accuracy", pixel_accuracy))
                }
                for cell, pair in cells.items()
            }
            for table, cells in self.cells.items()
        }


@torch.no_grad()
def ablate(backbone: Backbone, images: Iterator[dict[str, Any]], grid: AblationGrid, tables: Tables, seed: int) -> int:
    """Add every image (samples of a dataset) to `tables`; how many there were."""
    number, card = 0, backbone.card
    everything = Vocabulary.from_names(tables.classes)
    for sample in images:
        mask = sample["mask"]
        present = mask[mask != 255].unique()
        if len(present) == 0:
            continue
        number += 1
        own = Vocabulary.from_names([tables.classes[i] for i in present.tolist()])
        noise = image_seed(seed, sample["image_id"])

        def record(time: float, samples: int, image=sample["image"], noise=noise) -> Recording:
            return backbone.record(
                image, timesteps=time, noise_samples=samples, layers=range(backbone.layers), seed=noise
            )

        def add(table, cell, oracle, full, mask=mask, present=present, **readout):
            tables.add(table, cell, mask, oracle.maps(**readout), full.maps(**readout), present)

        most = max(grid.samples, default=1)
        recording = record(card.timestep, most)
        for count in grid.samples:
            few = recording.first_noised_copies(count)
            add("samples", str(count), few.ask(own), few.ask(everything), layers=card.layers)
        one = recording.first_noised_copies(1)
        _read(add, one.ask(own), one.ask(everything), backbone, grid)
        for attention in CONCEPT_ATTENTION if grid.concept_attention else ():
            asked = (one.ask(words, concept_attention=attention) for words in (own, everything))
            add("concept attention", attention, *asked, layers=card.layers)
        for time in grid.timesteps:
            timed = record(time, 1)
            add("timestep", f"{time:g}", timed.ask(own), timed.ask(everything), layers=card.layers)
        for side in grid.sides(card.resolution):
            seen = at_side(backbone, side).record(sample["image"], layers=card.layers, noise_samples=1, seed=noise)
            add("resolution", str(side), seen.ask(own), seen.ask(everything))
    return number


def _read(add: Any, oracle: ConceptFeatures, full: ConceptFeatures, backbone: Backbone, grid: AblationGrid) -> None:
    """Everything that one asking of one recording can tell."""
    card = backbone.card
    for space in SPACES if grid.spaces else ():
        for softmax in (True, False):
            name = f"{space}, {'softmax' if softmax else 'raw'}"
            add("space", name, oracle, full, space=space, softmax=softmax, layers=card.layers)
    for layer in range(backbone.layers) if grid.layers else ():
        for space in ("output", "cross-attention"):
            add(f"layer, {space}", str(layer), oracle, full, space=space, layers=[layer])
    if grid.layers:
        add("layer, output", "all", oracle, full, layers=range(backbone.layers))
    for normalise in NORMALISE if grid.normalise else ():
        for heads in (False, True):
            name = f"{normalise}, heads {'apart' if heads else 'joined'}"
            add("normalisation", name, oracle, full, normalise=normalise, per_head=heads, layers=card.layers)
