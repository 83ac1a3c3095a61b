"""Ways to part an image without words, scored on a dataset with masks.

    python -m benchmarks.parts --backbone photo --data FOLDER --first 1 --step 8

All read one recording. Parts are matched with the classes of the image's ground truth one to one, so that the sum of
intersection over union is highest (Hungarian method). mIoU: intersections and unions are summed over the images, class
by class, then the mean over the classes. ARI: the adjusted Rand index of the pixels, the mean over images with two
classes or more. Void pixels do not count.

    linkage     average linkage of attention outputs, cut at the threshold: what ca_seg does
    linkage K   the same, cut at K parts
    k-means K   of the same vectors (scikit-learn)
    spectral K  normalised cut of exp(-20 * distance) (scikit-learn); Shi and Malik, PAMI 2000
    diffseg T   self-attention maps merged by KL divergence below T; Tian et al., CVPR 2024, algorithm 1, one scale
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score

import ca_seg
from ca_seg.concept.recording import Recording
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.predictors.token_clusters import token_clusters, token_distances
from ca_seg.vocabulary import IGNORE_INDEX

ANCHORS, ROUNDS = 8, 3  # of DiffSeg: proposals along a side, and rounds of merging


def k_means(recording: Recording, count: int) -> torch.Tensor:
    outputs = [recording.streams[layer].part("output").mean(0).transpose(0, 1).flatten(1) for layer in recording.layers]
    vectors = torch.cat([torch.nn.functional.normalize(output, dim=1) for output in outputs], dim=1)
    numbers = KMeans(count, n_init=3, random_state=0).fit_predict(vectors.numpy())
    return recording.grid.unflatten(torch.as_tensor(numbers).long())


def spectral(recording: Recording, count: int) -> torch.Tensor:
    affinity = (-20 * token_distances(recording)).exp().double().numpy()
    numbers = SpectralClustering(count, affinity="precomputed", random_state=0).fit_predict(affinity)
    return recording.grid.unflatten(torch.as_tensor(numbers).long())


def diffseg(recording: Recording, threshold: float) -> torch.Tensor:
    attention = torch.stack([_attention(recording, layer) for layer in range(len(recording.streams))]).mean(0)
    sides = recording.grid.height, recording.grid.width
    rows, columns = (torch.linspace(0, side - 1, min(ANCHORS, side)).round().long().unique() for side in sides)
    anchors = (rows[:, None] * recording.grid.width + columns).flatten()
    near = _divergence(attention[anchors], attention) < threshold
    near[torch.arange(len(anchors)), anchors] = True
    proposals = torch.stack([attention[row].mean(0) for row in near])
    for _ in range(ROUNDS):
        close, merged = _divergence(proposals, proposals) < threshold, []
        waiting = torch.ones(len(proposals), dtype=torch.bool)
        for index, row in enumerate(close):
            if waiting[index]:
                group = row & waiting
                group[index] = True
                waiting &= ~group
                merged.append(proposals[group].mean(0))
        proposals = torch.stack(merged)
    return recording.grid.unflatten(proposals.argmax(0))


def _attention(recording: Recording, layer: int) -> torch.Tensor:
    """[N, N], rows sum to 1: the mean over heads and noised copies."""
    query, key = recording.streams[layer].part("query").float(), recording.streams[layer].part("key").float()
    return (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1).mean((0, 1))


def _divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The mean of both Kullback-Leibler divergences of each row of p and each of q."""
    log_p, log_q = p.clamp(min=1e-9).log(), q.clamp(min=1e-9).log()
    forward = (p * log_p).sum(1)[:, None] - p @ log_q.T
    return (forward + (q * log_q).sum(1)[None] - log_p @ q.T) / 2


METHODS: dict[str, Callable[[Recording], torch.Tensor]] = {
    "linkage": token_clusters,
    **{f"linkage {count}": partial(token_clusters, count=count) for count in (3, 4, 5)},
    "k-means 4": partial(k_means, count=4),
    "spectral 4": partial(spectral, count=4),
    **{f"diffseg {threshold}": partial(diffseg, threshold=threshold) for threshold in (0.4, 0.5, 0.6)},
}


class Scores:
    """Intersections, unions and indices of one method, image by image."""

    def __init__(self) -> None:
        self.inside: dict[int, int] = defaultdict(int)
        self.union: dict[int, int] = defaultdict(int)
        self.rand: list[float] = []
        self.parts: list[int] = []
        self.seconds = 0.0

    def add(self, parts: torch.Tensor, truth: torch.Tensor) -> None:
        """parts int64 [h, w] on any grid, truth int64 [H, W]."""
        maps = torch.nn.functional.one_hot(parts).movedim(-1, 0)[None].float()
        predicted = predict_mask(maps, *truth.shape).mask[0]
        known = truth != IGNORE_INDEX
        predicted, truth = predicted[known], truth[known]
        classes = truth.unique().tolist()
        count = maps.shape[1]
        overlap = torch.stack([torch.bincount(predicted[truth == c], minlength=count) for c in classes]).numpy()
        union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
        matched = dict(zip(*linear_sum_assignment(-overlap / union), strict=True))
        for row, name in enumerate(classes):
            self.inside[name] += int(overlap[row, matched[row]]) if row in matched else 0
            self.union[name] += int(union[row, matched[row]] if row in matched else overlap[row].sum())
        if len(classes) > 1:
            self.rand.append(adjusted_rand_score(truth.numpy(), predicted.numpy()))
        self.parts.append(count)

    @property
    def miou(self) -> float:
        return 100 * float(np.mean([self.inside[name] / self.union[name] for name in self.union]))


def opened(description: str) -> tuple[ca_seg.Backbone, SegmentationDataset, range]:
    """The backbone, the dataset and which of its images, as the command line names them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="photo")
    parser.add_argument("--data", default="photographs", help="a dataset's name or a folder")
    parser.add_argument("--split", default=None)
    parser.add_argument("--first", type=int, default=0, help="the first image")
    parser.add_argument("--step", type=int, default=1, help="from image to image")
    arguments = parser.parse_args()
    is_folder = Path(arguments.data).is_dir()
    name, root = ("folder", arguments.data) if is_folder else (arguments.data, None)
    dataset = open_dataset(name, root, arguments.split)
    return ca_seg.load_backbone(arguments.backbone), dataset, range(arguments.first, len(dataset), arguments.step)


def main() -> None:
    backbone, dataset, indices = opened(__doc__)
    scores = {name: Scores() for name in METHODS}
    for index in indices:
        sample = dataset[index]
        recording = backbone.record(sample["image"][None], seed=image_seed(0, sample["image_id"]), queries=True)
        for name, method in METHODS.items():
            start = time.monotonic()
            parts = method(recording)
            scores[name].seconds += time.monotonic() - start
            scores[name].add(parts, sample["mask"])
    print(f"{len(indices)} images")
    print(f"{'':12} mIoU   ARI  parts  seconds an image")
    for name, score in scores.items():
        rand, parts = 100 * np.mean(score.rand), np.mean(score.parts)
        print(f"{name:12} {score.miou:4.1f}  {rand:4.1f}  {parts:5.1f}  {score.seconds / len(score.parts):.2f}")


if __name__ == "__main__":
    main()
