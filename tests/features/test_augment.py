"""Views of cached features: against a loop over pixels, new in every epoch, the same in every process."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from ca_seg.data.batches import EpochShuffle
from ca_seg.data.collate import Skipped
from ca_seg.errors import OutOfRange
from ca_seg.features.augment import AugmentedFeatures, FeatureAugment, View, view_features, view_mask
from ca_seg.features.cached import collate_cached

CHANNELS, TOKENS, PIXELS = 3, (6, 9), (24, 27)


def sample(seed=0):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=(CHANNELS, *TOKENS)).astype(np.float32))
    return features, torch.from_numpy(rng.integers(0, 5, PIXELS))


def bilinear(plane, y, x):
    """One value of a plane at token coordinates (0, 0 the centre of the first), its edge going on."""
    h, w = plane.shape
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    top, left = int(y), int(x)
    down, right = min(top + 1, h - 1), min(left + 1, w - 1)
    fy, fx = y - top, x - left
    return (plane[top, left] * (1 - fx) + plane[top, right] * fx) * (1 - fy) + (
        plane[down, left] * (1 - fx) + plane[down, right] * fx
    ) * fy


def slow_view(features, mask, view):
    """Location by location, as the docstring of View says."""
    expected, labels = np.zeros_like(features), np.zeros_like(mask)
    (h, w), (height, width) = features.shape[1:], mask.shape

    def location(i, side, axis):
        fraction = (i + 0.5) / side
        fraction = 1 - fraction if view.flip and axis == 1 else fraction
        return view.start[axis] + fraction * view.extent[axis]

    for i in range(h):
        for j in range(w):
            y, x = location(i, h, 0), location(j, w, 1)
            for c in range(len(features)):
                inside = 0 <= y < 1 and 0 <= x < 1
                expected[c, i, j] = bilinear(features[c], y * h - 0.5, x * w - 0.5) if inside else features[c].mean()
    for i in range(height):
        for j in range(width):
            y, x = location(i, height, 0), location(j, width, 1)
            labels[i, j] = mask[int(y * height + 1e-6), int(x * width + 1e-6)] if 0 <= y < 1 and 0 <= x < 1 else 255
    return expected, labels


def test_a_view_against_a_loop() -> None:
    features, mask = sample()
    augment = FeatureAugment(1)
    kinds = set()
    for epoch in range(40):
        view = augment.view(*TOKENS, epoch=epoch, image_id="x")
        kinds.add((view.flip, view.extent[0] < 1))
        view_of_features, labels = augment(features, mask, epoch=epoch, image_id="x")
        expected = slow_view(features.numpy(), mask.numpy(), view)
        np.testing.assert_allclose(view_of_features.numpy(), expected[0], atol=1e-5)
        np.testing.assert_array_equal(labels.numpy(), expected[1])
    assert len(kinds) == 4


def test_views_begin_and_end_between_tokens() -> None:
    factors = []
    for epoch in range(300):
        view = FeatureAugment(0).view(*TOKENS, epoch=epoch, image_id="x")
        for tokens, start, extent in zip(TOKENS, view.start, view.extent, strict=True):
            if extent <= 1:
                first, count = start * tokens, extent * tokens
            else:
                first, count = -start / extent * tokens, tokens / extent
            assert first == pytest.approx(round(first), abs=1e-9)
            assert count == pytest.approx(round(count), abs=1e-9)
            assert -1e-9 <= first <= tokens - count + 1e-9
        factors.append(1 / view.extent[1])
    assert 0.4 < min(factors) < 0.6
    assert 1.7 < max(factors) <= 2.3
    assert 0.4 < np.mean(np.array(factors) > 1) < 0.6


def test_a_flip_alone_flips_and_no_change_changes_nothing() -> None:
    features, mask = sample()
    unchanged = FeatureAugment(flip=0, min_scale=1, max_scale=1)(features, mask, epoch=0, image_id="x")
    torch.testing.assert_close(unchanged[0], features, rtol=0, atol=1e-5)
    assert torch.equal(unchanged[1], mask)
    flipped = FeatureAugment(flip=1, min_scale=1, max_scale=1)(features, mask, epoch=0, image_id="x")
    torch.testing.assert_close(flipped[0], features.flip(2), rtol=0, atol=1e-5)
    assert torch.equal(flipped[1], mask.flip(1))


def test_features_stay_aligned_with_their_pixels() -> None:
    """With a mask of whole tokens and features that encode their class, both agree in an enlarged view."""
    classes = torch.from_numpy(np.random.default_rng(3).integers(0, 4, (8, 8)))
    features = torch.nn.functional.one_hot(classes, 4).permute(2, 0, 1).float()
    mask = classes.repeat_interleave(5, 0).repeat_interleave(5, 1)
    view = View(True, (2 / 8, 3 / 8), (4 / 8, 4 / 8))
    view_of_features, labels = view_features(features, view), view_mask(mask, view)
    assert torch.equal(labels, mask[10:30, 15:35].flip(1).repeat_interleave(2, 0).repeat_interleave(2, 1))
    at_tokens = labels.reshape(8, 5, 8, 5)[:, 2, :, 2]
    assert torch.equal(view_of_features.argmax(0), at_tokens)


def test_a_view_depends_only_on_seed_epoch_and_image_id() -> None:
    views = {
        (seed, epoch, image_id): FeatureAugment(seed).view(16, 16, epoch=epoch, image_id=image_id)
        for seed in (0, 1) for epoch in (0, 1) for image_id in ("a", "b")
    }  # fmt: skip
    assert len(set(views.values())) == 8
    assert views[0, 1, "b"] == FeatureAugment(0).view(16, 16, epoch=1, image_id="b")


@pytest.mark.parametrize("options", [{"flip": 1.5}, {"min_scale": 0}, {"min_scale": 2, "max_scale": 1}])
def test_ranges_are_checked(options) -> None:
    with pytest.raises(OutOfRange):
        FeatureAugment(**options)


class FiveSamples(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 4:
            return Skipped("p4", "broken")
        features, mask = sample(index)
        return {"features": features, "mask": mask, "image_id": f"p{index}", "path": f"p{index}"}


class FeatureSums(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.sums = {}
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_index):
        for image_id, features in zip(batch["image_id"], batch["features"], strict=True):
            self.sums[self.current_epoch, image_id] = float(features.sum())
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_sees_a_new_view_in_every_epoch(workers) -> None:
    order, module = EpochShuffle(5, 0), FeatureSums()
    augmented = AugmentedFeatures(FiveSamples(), FeatureAugment(7), order)
    loader = DataLoader(augmented, batch_size=2, sampler=order, num_workers=workers, collate_fn=collate_cached)
    pl.Trainer(accelerator="cpu", max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
               enable_model_summary=False).fit(module, loader)  # fmt: skip
    expected = {
        (epoch, f"p{index}"): float(FeatureAugment(7)(*sample(index), epoch=epoch, image_id=f"p{index}")[0].sum())
        for epoch in range(3) for index in range(4)
    }  # fmt: skip
    assert module.sums == pytest.approx(expected, abs=1e-3)
    assert len(set(expected.values())) == 12
