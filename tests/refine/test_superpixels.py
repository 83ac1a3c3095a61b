"""The vote of superpixels against loops over the patches that scikit-image gives."""

from __future__ import annotations

import pytest
import torch
from skimage.segmentation import slic

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.superpixels import superpixel_vote, superpixels
from tests.refine.scene import random_case, two_regions


def test_equals_a_loop_over_patches() -> None:
    scores, blocks = random_case(0, grid=(24, 30), size=(4, 5))
    image = blocks.repeat_interleave(6, 2).repeat_interleave(6, 3)  # 20 blocks of 6 x 6 pixels, each of one colour
    refined = superpixel_vote(scores, image, segments=20)
    for n in range(2):
        patches = slic(image[n].permute(1, 2, 0).numpy(), n_segments=20, compactness=10, start_label=1)
        labels = set(patches.ravel().tolist())
        assert len(labels) > 3
        for label in labels:
            inside = torch.from_numpy(patches == label)
            pixels = scores[n][:, inside]  # [K, pixels]
            torch.testing.assert_close(refined[n][:, inside], pixels.mean(1)[:, None].expand_as(pixels))


def test_probabilities_stay_probabilities_and_a_second_vote_changes_nothing() -> None:
    scores, image = random_case(1, grid=(4, 5), size=(20, 25))
    refined = superpixel_vote(scores, image, segments=12)
    assert refined.shape == (2, 4, 20, 25)
    torch.testing.assert_close(refined.sum(1), torch.ones(2, 20, 25).double())
    assert refined.min() >= 0
    again = superpixel_vote(refined, image, segments=12)
    torch.testing.assert_close(again, refined)


def test_patches_are_numbered_from_0_without_gaps() -> None:
    patch = superpixels(two_regions().image[0], segments=50)
    assert patch.dtype == torch.int64
    numbers = patch.unique().tolist()
    assert numbers == list(range(len(numbers)))
    assert 20 <= len(numbers) <= 100


@pytest.mark.parametrize("cell", [1, 4])
def test_a_noisy_scene_improves(cell) -> None:
    scene = two_regions()
    scores = scene.noisy_scores(cell)
    assert scene.miou(superpixel_vote(scores, scene.image, segments=80)) > scene.miou(scores) + 0.1


def test_invalid_arguments_raise() -> None:
    scores, image = random_case(2)
    with pytest.raises(UserError, match=r"\(4, 5, 7\)"):
        superpixel_vote(scores[0], image)
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        superpixel_vote(scores, image, segments=0)
    with pytest.raises(OutOfRange, match=r"compactness.*\b0\b"):
        superpixel_vote(scores, image, compactness=0)
