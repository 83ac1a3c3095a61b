"""Parts by padding in an ablation, against a loop over parts and classes."""

from __future__ import annotations

import pytest
import torch

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.data.seeds import image_seed
from ca_seg.errors import UserError
from ca_seg.evaluation.ablation import AblationGrid, AblationScores, ablate_image, named_by_ground_truth
from ca_seg.predictors.pad_tokens import pad_clusters
from tests.small_flux import small_backbone

OFF = dict.fromkeys(("layers", "spaces", "concept_attention", "normalise", "readers", "prompt"), False)
PATCH = 16  # pixels of a token


def named(parts: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[H, W]: each token's square of pixels has the class that its part covers most."""
    pixels = parts.repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
    result = torch.empty_like(mask)
    for part in parts.unique():
        inside = mask[(pixels == part) & (mask != 255)].tolist()
        result[pixels == part] = max(sorted(set(inside)), key=inside.count) if inside else 0
    return result


def test_parts_have_the_class_that_they_cover_most():
    generator = torch.Generator().manual_seed(0)
    parts = torch.arange(3)[:, None].expand(3, 4).clone()  # rows of tokens
    mask = torch.randint(0, 5, (3 * PATCH, 4 * PATCH), generator=generator)
    mask[:PATCH] = torch.where(torch.rand(PATCH, 4 * PATCH, generator=generator) < 0.6, 4, mask[:PATCH])
    mask[PATCH : 2 * PATCH] = torch.where(torch.rand(PATCH, 4 * PATCH, generator=generator) < 0.6, 2, 255)
    maps = named_by_ground_truth(parts, mask, 5)
    assert maps.shape == (1, 5, 3, 4)
    assert torch.equal(maps.sum(dim=1), torch.ones(1, 3, 4))
    assert torch.equal(maps[0].argmax(dim=0), named(parts, mask)[::PATCH, ::PATCH])


def test_the_entry_of_an_image():
    backbone = small_backbone()
    backbone.card = backbone.card.__class__(**{**vars(backbone.card), "layers": (0, 1)})
    image = torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(48)[:, None] > 20).long().expand(48, 80).contiguous()
    scores = AblationScores(["cat", "sky", "grass"])
    grid = AblationGrid([], [], [], templates=[], **OFF)
    ablate_image(backbone, {"image": image, "mask": mask, "image_id": "a"}, grid, scores, seed=3)
    config = ReadoutConfig(noise_samples=1)
    expected = named(pad_clusters(backbone, image[None], config, image_seed(3, "a")), mask)
    ((entry, figures),) = scores.figures()["parts"].items()
    assert "ground truth" in entry
    accuracy = float((expected == mask).float().mean())
    assert figures["oracle_accuracy"] == pytest.approx(accuracy, abs=0.02)  # masks follow smoothed borders of parts
    assert figures["oracle_accuracy"] == figures["full_accuracy"]


def test_a_template_without_a_place_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="places"):
        AblationGrid(templates=["a photo"])
