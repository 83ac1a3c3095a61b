"""Spreading by self-attention against the matrix written out, and its memory."""

from __future__ import annotations

import pytest
import torch

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine import attention
from ca_seg.refine.attention import propagate
from tests.refine.scene import two_regions


def case(seed: int, heads: int = 3, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64).softmax(1)
    query, key = torch.randn(2, 2, heads, 24, width, generator=generator, dtype=torch.float64) * 2
    return scores, query, key


@pytest.mark.parametrize("power", [0, 1, 3])
@pytest.mark.parametrize("chunk", [1, 7, 24, 1000])
@pytest.mark.parametrize("scale", [None, 0.1])
def test_equals_the_matrix_written_out(power, chunk, scale) -> None:
    scores, query, key = case(0)
    factor = 8**-0.5 if scale is None else scale
    for n, expected in enumerate(scores.clone()):
        matrix = torch.zeros(24, 24).double()
        for head in range(3):
            for i in range(24):
                row = (key[n, head] @ query[n, head, i] * factor).exp()
                matrix[i] += row / row.sum() / 3
        expected = (torch.linalg.matrix_power(matrix, power) @ expected.flatten(1).T).T.reshape(5, 4, 6)
        spread = propagate(scores, query, key, power=power, chunk=chunk, scale=scale)[n]
        torch.testing.assert_close(spread, expected)


def test_probabilities_stay_probabilities_and_a_constant_map_is_unchanged() -> None:
    scores, query, key = case(1)
    spread = propagate(scores, query, key, power=2)
    torch.testing.assert_close(spread.sum(1), torch.ones(2, 4, 6).double())
    assert (spread.amax((-2, -1)) <= scores.amax((-2, -1))).all()
    even = torch.rand(2, 5, 1, 1).double().expand(-1, -1, 4, 6)
    torch.testing.assert_close(propagate(even, query, key, power=3), even)


def test_identical_keys_give_the_mean_everywhere() -> None:
    scores, query, _ = case(2)
    spread = propagate(scores, query, torch.ones_like(query))
    torch.testing.assert_close(spread, scores.mean((-2, -1), keepdim=True).expand_as(scores))


def test_half_precision_is_summed_in_float32() -> None:
    scores, query, key = (x.bfloat16() for x in case(3))
    spread = propagate(scores, query, key)
    assert spread.dtype == torch.float32
    torch.testing.assert_close(
        spread.double(), propagate(scores.double(), query.double(), key.double()), rtol=1e-4, atol=1e-5
    )


def test_at_most_a_chunk_of_rows_is_computed_at_once(monkeypatch) -> None:
    """Each call of the kernel gets at most `chunk` rows of queries."""
    rows, kernel = [], attention.scaled_dot_product_attention

    def counting_kernel(query, key, value, **options):
        rows.append(query.shape[2])
        return kernel(query, key, value, **options)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", counting_kernel)
    scores = torch.rand(1, 3, 20, 20).softmax(1)
    query, key = torch.randn(2, 1, 2, 400, 4)
    propagate(scores, query, key, chunk=150, power=2)
    assert rows == [150, 150, 100] * 2


def test_a_noisy_scene_improves() -> None:
    """Queries and keys differ between the two regions, as those of a model would."""
    scene = two_regions()
    scores = scene.noisy_scores(2)
    colour = torch.nn.functional.avg_pool2d(scene.image, 2).flatten(2).transpose(1, 2)[:, None]  # [1, 1, N, 3]
    colour = 10 * (colour - colour.mean(2, keepdim=True))
    assert scene.miou(propagate(scores, colour, colour)) > scene.miou(scores) + 0.05


def test_invalid_arguments_raise() -> None:
    scores, query, key = case(4)
    with pytest.raises(UserError, match=r"24.*8 x 12"):
        propagate(torch.rand(2, 5, 8, 12), query, key)
    with pytest.raises(UserError, match=r"\(2, 1, 24, 8\)"):
        propagate(scores, query, key[:, :1])
    with pytest.raises(OutOfRange, match="-1"):
        propagate(scores, query, key, power=-1)
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        propagate(scores, query, key, chunk=0)
