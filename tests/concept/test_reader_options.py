"""Options of the published readers: the choice of layers and heads, and what is refused."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.readers.goca import goca
from ca_seg.concept.readers.gramcol import frame_separability, gramcol
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.methods.attention_readers.gramcol import gramcol_config
from tests.small_flux import small_backbone

WORDS = Vocabulary.from_names(["cat", "grass", "sky"])
LAYERS = (0, 1, 2)


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(3))


def eigenvalues(features) -> torch.Tensor:
    """[layers, images]: the second eigenvalue by a full decomposition, mean over heads."""
    rows = []
    for layer in features.layers:
        query, key = features.image[layer].query, features.image[layer].part("key")
        chain = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1).double()
        rows.append(torch.linalg.eigvals(chain).abs().sort(dim=-1, descending=True).values[..., 1].mean(dim=1))
    return torch.stack(rows)


def test_gramcol_reads_the_layers_that_mix_slowly(backbone, image):
    features = backbone.record(image, layers=LAYERS, queries=True, seed=[1, 2]).ask(WORDS)
    values = eigenvalues(features)
    limit = float(values[:, 0].sort().values[:2].mean())  # between the two lowest of the first image
    maps = gramcol(features, least_eigenvalue=limit)
    for row in range(2):
        alone = backbone.record(image[row : row + 1], layers=LAYERS, queries=True, seed=[row + 1])
        counting = [layer for layer in LAYERS if values[layer, row] > limit] or [int(values[:, row].argmax())]
        expected = alone.select(0).ask(WORDS)
        expected = type(expected)(
            expected.vocabulary, expected.grid, 1, tuple(counting), expected.image, expected.concept, None
        )
        torch.testing.assert_close(maps[row : row + 1], gramcol(expected), atol=1e-4, rtol=1e-3)
    best = int(values[:, 0].argmax())
    only = ReadoutConfig(layers=(best,), reader="gramcol").record(backbone, image[:1], [1]).maps(WORDS)
    torch.testing.assert_close(gramcol(features, least_eigenvalue=1.0)[:1], only, atol=1e-4, rtol=1e-3)


def test_frames_that_differ_as_a_known_library_counts_it():
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra dev")
    output = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    output[1] += torch.arange(3)[:, None, None]
    groups = torch.arange(3).repeat_interleave(6).numpy()
    expected = [sklearn.calinski_harabasz_score(head.flatten(0, 1).numpy(), groups) for head in output]
    assert frame_separability(output).tolist() == pytest.approx(expected, rel=1e-4)


def test_motion_needs_a_video(backbone, image):
    config = ReadoutConfig(layers=LAYERS, reader="gramcol", reader_options={"motion_heads": 5})
    with pytest.raises(UserError, match="videos"):
        config.record(backbone, image, [1, 2]).maps(WORDS)


def test_the_published_layers_of_gramcol():
    assert gramcol_config("cogvideox-5b").layers == (1, 2, 3, 4, 5, *range(7, 22), 23)
    assert gramcol_config("mini").layers is None


def test_options_reach_the_reader(backbone, image):
    options = {"weigh_heads": False, "rescale": False}
    config = ReadoutConfig(layers=(0, 1), reader="goca", prompt="all", reader_options=options)
    readout = config.record(backbone, image[:1], [1], vocabulary=WORDS)
    assert torch.equal(readout.maps(WORDS), goca(readout.ask(WORDS), **options))
    assert config.resolved(backbone)["reader_options"] == options
    assert ReadoutConfig.from_plain(config.plain()) == config


@pytest.mark.parametrize(
    ("reader", "options", "problem"),
    [
        ("goca", {"weight_heads": True}, UnknownName),
        ("concepts", {"bounces": 2}, UnknownName),
        ("tokenrank", {"bounces": 0}, OutOfRange),
        ("tokenrank", {"bounces": True}, OutOfRange),
        ("goca", {"rescale": 1}, OutOfRange),
        ("gramcol", {"least_eigenvalue": float("nan")}, OutOfRange),
        ("gramcol", {"motion_heads": -1}, OutOfRange),
    ],
)
def test_options_that_cannot_be_used(reader, options, problem):
    with pytest.raises(problem):
        ReadoutConfig(reader=reader, prompt="all", reader_options=options)
