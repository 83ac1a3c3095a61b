"""Parts without words, against a slow average linkage, and names of parts against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ca_seg.concept.grid import Grid
from ca_seg.concept.record import Stream
from ca_seg.concept.recording import Recording
from ca_seg.errors import OutOfRange, UserError
from ca_seg.predictors.part_names import part_names, titles
from ca_seg.predictors.token_clusters import token_clusters, token_distances


def _recording(outputs: torch.Tensor, grid: Grid, batch: int = 1) -> Recording:
    """Of attention outputs [layers, copies, heads, N, d]; what maps do not read is left out."""
    streams = tuple(Stream(None, None, None, output) for output in outputs)
    copies = outputs.shape[1] // batch
    return Recording(grid, copies, tuple(range(len(outputs))), streams, {}, None, concept_pass=None)


def _random(seed: int, *, layers=2, copies=3, heads=2, height=3, width=4) -> Recording:
    generator = torch.Generator().manual_seed(seed)
    shape = (layers, copies, heads, height * width, 5)
    return _recording(torch.randn(shape, generator=generator), Grid(height, width))


def _slow_distances(recording: Recording) -> np.ndarray:
    tokens = recording.grid.tokens
    result = np.zeros((tokens, tokens))
    for layer in recording.layers:
        output = recording.streams[layer].output.double().numpy().mean(0)  # [heads, N, d]
        for a in range(tokens):
            for b in range(tokens):
                u, v = output[:, a].ravel(), output[:, b].ravel()
                result[a, b] += (1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v)) / len(recording.layers)
    return result


def _slow_parts(distances: np.ndarray, *, count: int | None = None, threshold: float | None = None) -> list[set[int]]:
    """Average linkage by its definition: the two groups with the least mean distance of their tokens are merged."""
    groups = [{token} for token in range(len(distances))]
    steps = [(0.0, [set(group) for group in groups])]
    while len(groups) > 1:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a)]
        means = [np.mean([distances[x, y] for x in groups[a] for y in groups[b]]) for a, b in pairs]
        a, b = pairs[int(np.argmin(means))]
        groups[b] |= groups.pop(a)
        steps.append((min(means), [set(group) for group in groups]))
    if count is not None:
        return next(parts for _, parts in steps if len(parts) == count)
    return next(parts for height, parts in reversed(steps) if height <= threshold * steps[-1][0])


def _groups(clusters: torch.Tensor) -> list[set[int]]:
    numbers = clusters.flatten().tolist()
    return [{i for i, number in enumerate(numbers) if number == part} for part in range(max(numbers) + 1)]


@pytest.mark.parametrize("seed", range(3))
def test_distances(seed):
    recording = _random(seed)
    np.testing.assert_allclose(token_distances(recording).numpy(), _slow_distances(recording), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{"count": 1}, {"count": 4}, {"count": 12}, {"threshold": 0.6}, {"threshold": 0.9}])
def test_parts_are_those_of_average_linkage(seed, options):
    recording = _random(seed)
    groups = _groups(token_clusters(recording, **options))
    expected = _slow_parts(_slow_distances(recording), **options)
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))
    sizes = [len(group) for group in groups]
    assert sizes == sorted(sizes, reverse=True)  # the largest first


def test_an_even_image_is_one_part_and_one_token_too():
    even = _recording(torch.ones(1, 1, 2, 12, 5), Grid(3, 4))
    assert token_clusters(even).tolist() == [[0] * 4] * 3
    assert token_clusters(_random(0, height=1, width=1)).tolist() == [[0]]


def test_a_strip_of_one_row():
    assert token_clusters(_random(0, height=1, width=300), 5).shape == (1, 300)


def test_what_cannot_be_parted():
    with pytest.raises(OutOfRange, match="13 parts"):
        token_clusters(_random(0), 13)
    with pytest.raises(OutOfRange):
        token_clusters(_random(0), 0)
    with pytest.raises(OutOfRange):
        token_clusters(_random(0), threshold=1.5)
    several = _recording(torch.randn(1, 2, 2, 12, 5), Grid(3, 4), batch=2)
    with pytest.raises(UserError, match="2 images"):
        token_clusters(several)
    with pytest.raises(OutOfRange, match="10001 tokens"):
        token_clusters(_recording(torch.ones(1, 1, 1, 10001, 1), Grid(1, 10001)))


def test_a_part_is_named_by_its_highest_mean():
    generator = torch.Generator().manual_seed(0)
    maps, parts = torch.rand(6, 3, 4, generator=generator), torch.randint(0, 3, (3, 4), generator=generator)
    words = list("abcdef")
    names = part_names(maps, parts, words, best=2)
    for part, named in enumerate(names):
        means = {word: np.mean(maps[k][parts == part].tolist()) for k, word in enumerate(words)}
        best = sorted(means, key=means.get, reverse=True)[:2]
        assert list(named) == best
        assert list(named.values()) == pytest.approx([means[word] for word in best])
    with pytest.raises(UserError):
        part_names(maps, parts[:2], words)


def test_titles_are_never_alike():
    assert titles([{"sky": 0.5, "sea": 0.1}, {"sky": 0.4}, {"cat": 0.9}, {}]) == ("sky", "sky 2", "cat", "part 4")
