"""Readers against plain loops over heads, tokens and words, on a small random FLUX.1."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from ca_seg import Vocabulary
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.concept.blur import blurred
from ca_seg.concept.choices import PROMPT_READERS, READERS
from ca_seg.concept.normalise import linear_normalisation, massive_channels
from ca_seg.concept.readers.anchordiff import similarity_graph, spread
from ca_seg.concept.readers.goca import goca, head_weights
from ca_seg.concept.readers.gramcol import gramcol
from ca_seg.concept.readers.seg4diff import seg4diff
from ca_seg.concept.readers.tokenrank import second_eigenvalue, tokenrank
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import UserError
from tests.small_flux import small_backbone

WORDS = Vocabulary.from_names(["cat", "red grass", "sky"])
PROMPT = "cat, red grass, sky"
LAYERS = (1, 2)


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def recording(backbone, image):
    """With the prompt's attention; `RandomText` gives a prompt three tokens, one for each phrase."""
    return backbone.record(
        image, prompt=PROMPT, prompt_phrases=[WORDS.concepts], layers=LAYERS, queries=True, timesteps=0.4
    )


@pytest.fixture(scope="module")
def matrices(backbone, image):
    """[layers][1, heads, 3 + N, 3 + N]: the joint attention of the same pass, from the stock model's kernel calls."""
    attentions = []

    def attend(layer, query, key, value, options):
        scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / query.shape[-1] ** 0.5
        attentions.append(scores.exp() / scores.exp().sum(dim=-1, keepdim=True))
        return attentions[-1] @ value

    with AttentionTap(backbone.family.attentions(backbone.transformer), attend):
        backbone.record(image, prompt=PROMPT, layers=[0], timesteps=0.4, stop_early=False)
    return attentions


def shares(scores):
    return scores / scores.sum(dim=1, keepdim=True)


def test_seg4diff_is_the_mean_of_the_words_columns(recording, matrices):
    maps = ReadoutConfig(layers=LAYERS, reader="seg4diff", prompt="all")
    by_layer = [matrices[layer][:, :, 3:, :3].mean(dim=1).transpose(1, 2) for layer in LAYERS]
    expected = shares((by_layer[0] + by_layer[1]) / 2).unflatten(2, (3, 5))
    torch.testing.assert_close(Readout(recording, maps, "output").maps(WORDS), expected, atol=1e-5, rtol=1e-4)
    for layer in LAYERS:
        torch.testing.assert_close(
            recording.prompt.image_share[layer], matrices[layer][:, :, 3:, 3:].sum(dim=-1), atol=1e-5, rtol=1e-4
        )


def test_a_word_that_is_not_in_the_prompt_gets_nothing(recording):
    features = recording.prompt_words(["sky", "road"])
    maps = seg4diff(features)
    assert maps[:, 0].eq(1).all()
    assert maps[:, 1].eq(0).all()
    with pytest.raises(UserError, match="none of the words"):
        seg4diff(recording.prompt_words(["road"]))


def test_goca_is_the_loop_of_its_authors(backbone, recording, matrices):
    """Head and layer weights, and the rescaling, with a loop for each head as the authors' code has."""
    features = recording.prompt_words(WORDS)
    dense = features.image[2].output[0].transpose(0, 1).flatten(1)  # [N, width]
    reference = (dense @ dense.T / dense.shape[1] ** 0.5).softmax(dim=1)
    maps, weights = [], []
    for layer in LAYERS:
        output = features.image[layer].output[0]  # [heads, N, d]
        heads, _, width = output.shape
        projection = backbone.family.attentions(backbone.transformer)[layer].to_out[0].weight.T
        results = torch.stack([output[h] @ projection[h * width : (h + 1) * width] for h in range(heads)])
        agreement = torch.stack([(results[h] * results.sum(dim=0)).sum(dim=1) for h in range(heads)]).clamp(min=0)
        agreement = agreement / agreement.sum(dim=0)
        words = matrices[layer][0, :, 3:, :3]
        maps.append(sum(words[h] * agreement[h][:, None] for h in range(heads)))
        weights.append((reference * matrices[layer][0, :, 3:, 3:].mean(dim=0)).sum())
    raw = sum(m * w for m, w in zip(maps, weights, strict=True)) / sum(weights)
    raw = (raw / raw.sum(dim=1, keepdim=True)).T.unflatten(1, (3, 5))
    smooth = gaussian_blur(raw, kernel_size=5)
    low, high = smooth.amin(dim=(1, 2), keepdim=True), smooth.amax(dim=(1, 2), keepdim=True)
    expected = shares(((smooth - low) / (high - low))[None])
    torch.testing.assert_close(goca(features), expected, atol=1e-4, rtol=1e-3)
    plain = goca(features, weigh_heads=False, weigh_layers=False, rescale=False)
    mean = sum(matrices[layer][:, :, 3:, :3].mean(dim=1) for layer in LAYERS) / 2
    torch.testing.assert_close(plain, shares(mean.transpose(1, 2)).unflatten(2, (3, 5)), atol=1e-5, rtol=1e-4)


def test_heads_that_all_disagree_count_the_same():
    output = torch.zeros(1, 2, 3, 4)
    assert head_weights(output, torch.ones(8, 8)).eq(1).all()


def test_the_second_eigenvalue_is_that_of_a_full_decomposition():
    chains = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) ** 6
    chains = chains / chains.sum(dim=-1, keepdim=True)
    expected = torch.linalg.eigvals(chains.double()).abs().sort(dim=-1, descending=True).values[..., 1]
    torch.testing.assert_close(second_eigenvalue(chains, 400), expected.float(), atol=0.01, rtol=0.02)
    blocks = torch.block_diag(torch.full((5, 5), 0.2), torch.full((7, 7), 1 / 7))  # two parts that never mix
    torch.testing.assert_close(second_eigenvalue(blocks), torch.tensor(1.0))


def test_tokenrank_applies_attention_twice(recording):
    features = recording.ask(WORDS)
    total = 0
    for layer in LAYERS:
        image, concept = features.image[layer], features.concept[layer]
        for_head = []
        for h in range(image.key.shape[1]):
            d = image.key.shape[3] ** 0.5
            first = (concept.query[0, h] @ image.key[0, h].T / d).softmax(dim=1)
            chain = (image.query[0, h] @ image.key[0, h].T / d).softmax(dim=1)
            for_head.append((first @ chain, torch.linalg.eigvals(chain.double()).abs().sort().values[-2]))
        total = total + sum(m * v.float() for m, v in for_head) / sum(v for _, v in for_head).float()
    expected = shares(total[None]).unflatten(2, (3, 5))
    torch.testing.assert_close(tokenrank(features), expected, atol=2e-3, rtol=2e-2)


def test_gramcol_is_the_column_of_the_best_token(recording):
    features = recording.ask(WORDS)
    total = 0
    for layer in LAYERS:
        image, concept = features.image[layer], features.concept[layer]
        for h in range(image.key.shape[1]):
            best = [int((image.query[0, h] @ concept.key[0, h, c]).argmax()) for c in range(3)]
            if len(set(best)) > 1:  # otherwise all words have the same column, and nothing is left of it
                columns = torch.stack([image.output[0, h] @ image.output[0, h, token] for token in best])
                total = total + (columns - columns.mean(dim=0)) / (columns.std(dim=0) + 1e-6)
    expected = (total / image.key.shape[1] / 2).softmax(dim=0).unflatten(1, (3, 5))[None]
    torch.testing.assert_close(gramcol(features), expected, atol=1e-3, rtol=1e-2)
    assert gramcol(recording.ask("cat")).eq(1).all()


def test_an_anchor_does_not_reach_a_second_instance():
    """Two instances that are not joined in the graph: all mass stays with the anchor's, the limit of one anchor."""
    graph = torch.block_diag(torch.full((4, 4), 0.25), torch.full((4, 4), 0.25))[None]
    seed = torch.zeros(1, 1, 8)
    seed[0, 0, 1] = 1
    mass = spread(seed, graph)
    assert mass[..., 4:].eq(0).all()
    torch.testing.assert_close(mass.sum(), torch.tensor(1.0))


def test_the_graph_is_row_stochastic(recording):
    graph = similarity_graph(recording.streams[1])
    torch.testing.assert_close(graph.sum(dim=2), torch.ones(1, 15))
    assert graph.min() >= 0


@pytest.mark.parametrize("reader", READERS)
def test_a_part_of_a_recording_is_read_as_the_whole(backbone, reader):
    images = torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(5))
    config = ReadoutConfig(reader=reader, prompt="all", layers=LAYERS, timesteps=(0.3, 0.6))
    readout = config.record(backbone, images, [1, 2], vocabulary=WORDS)
    maps, alone = readout.maps(WORDS), readout.select(1)
    torch.testing.assert_close(alone.maps(WORDS), maps[1:], atol=1e-5, rtol=1e-5)
    small = Readout(readout.recording.eight_bit(), config, "output").maps(WORDS)
    assert float((small - maps).abs().mean()) < 0.05
    prompt = alone.recording.prompt
    assert (prompt is None) == (reader not in PROMPT_READERS)
    for x in () if prompt is None else (*prompt.words, *prompt.image_share):
        assert len(x) == 2 == len(prompt.tokens)
        assert x.untyped_storage().nbytes() == x.nbytes, "the batch is kept in memory"


OPTIONS = [{"reader": reader} for reader in READERS] + [
    {"templates": ("a {}", "the {}")},
    {"image_output": "concepts"},
    {"normalise": "discard", "space": "value"},
    {"flip": True, "blur": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_words_that_are_known_beforehand_give_the_same_maps(backbone, image, options):
    config = ReadoutConfig(prompt="all", layers=LAYERS, timesteps=(0.3, 0.6), **options)
    maps = config.record(backbone, image, [1], vocabulary=WORDS).maps(WORDS)
    known = config.record(backbone, image, [1], vocabulary=WORDS, words=[WORDS])
    assert torch.equal(known.maps(WORDS), maps)
    everything = options.get("reader", "concepts") != "concepts" or {"templates", "image_output"} & set(options)
    assert (known.recording.known is None) == bool(everything)


def test_linear_normalisation_as_in_the_reference_code():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for b, h, d in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(5)).tolist():
        values = x[b, h, :, d] - x[b, h, :, d].min()
        torch.testing.assert_close(linear_normalisation(x)[b, h, :, d], values / values.sum())
    assert linear_normalisation(torch.ones(1, 1, 2, 3)).eq(0).all()


def test_massive_channels_are_found():
    x = torch.ones(1, 2, 6, 8)
    x[0, 1, 3, 5] = -500
    expected = torch.zeros(1, 2, 1, 8, dtype=torch.bool)
    expected[0, 1, 0, 5] = True
    assert torch.equal(massive_channels(x), expected)


def test_the_blur_is_that_of_torchvision():
    maps = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(blurred(maps), gaussian_blur(maps, [3, 3], [1.0, 1.0]))
    torch.testing.assert_close(blurred(torch.ones(1, 1, 1, 4)), torch.ones(1, 1, 1, 4))


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_gives_the_same_image_the_same_maps(backbone, image, reader):
    """Alone, in a batch, in noised copies and flipped: maps are shares of the classes."""
    prompt = "all" if reader in PROMPT_READERS else "none"
    config = ReadoutConfig(layers=LAYERS, timesteps=(0.3, 0.6), reader=reader, prompt=prompt)
    both = config.record(backbone, torch.cat([image, image.flip(2)]), [5, 6], vocabulary=WORDS)
    alone = config.record(backbone, image, [5], vocabulary=WORDS)
    maps = alone.maps(WORDS)
    close = {"atol": 5e-3, "rtol": 1e-2} if reader == "gramcol" else {"atol": 1e-4, "rtol": 1e-3}  # small deviations
    torch.testing.assert_close(both.maps(WORDS)[:1], maps, **close)
    torch.testing.assert_close(both.select(0).maps(WORDS), maps, **close)
    torch.testing.assert_close(torch.stack(alone.maps_per_copy(WORDS)).mean(dim=0), maps, **close)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones_like(maps[:, 0]))
    assert maps.min() >= 0
