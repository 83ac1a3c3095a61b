"""CLIP-as-RNN: the gradient of its GradCAM against differences, its boxes and marks, and its rounds."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import ca_seg
from ca_seg.methods.clip import clip_as_rnn
from ca_seg.methods.clip.clip_as_rnn import BACKGROUND_WORDS, LOOK_TEMPLATES, ClipAsRnn, look, marked, rival_words
from ca_seg.methods.clip.gradcam import boxes, last_block, proposals, transition_matrix
from ca_seg.optional import MissingExtra
from tests.methods.small_clip import LAYERS, SlowImageEncoder, small_clip, small_encoders, small_tokenizer, softmax

WORDS = ["cat", "grass", "sky", "boat"]


@pytest.fixture(scope="module")
def encoders():
    """With a scale of probabilities at which none is nearly 0 or 1, so that gradients can be compared."""
    encoders = small_encoders(dtype=torch.float64)
    encoders.model.logit_scale.data.fill_(1.0)
    return encoders


def scaled(values):
    """To 0..1; values that are all equal to 0."""
    spread = values.max() - values.min()
    return torch.zeros_like(values) if spread == 0 else (values - values.min()) / spread


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_gradcam_is_that_of_differences(encoders, image):
    """The mean gradient of a channel is the slope along a step of that channel in all patches, over their number."""
    slow, last = SlowImageEncoder(encoders.model, image[0]), LAYERS - 1
    words = encoders.phrase_vectors(WORDS).double()
    hidden, name = slow.inputs[last], f"encoder.layers.{last}"
    normed = slow.norm(f"{name}.layer_norm1", hidden)

    def probability(activation, index):
        projected = {n: slow.linear(f"{name}.self_attn.{n}_proj", activation).chunk(2, dim=-1) for n in "qkv"}
        mixed = [softmax(q @ k.T / q.shape[-1] ** 0.5) @ v for q, k, v in zip(*projected.values(), strict=True)]
        states = slow.feed_forward(last, hidden + slow.output(last, mixed))
        vector = slow.norm("post_layernorm", states)[1:].mean(dim=0) @ slow.weights["visual_projection.weight"].T
        return softmax(slow.weights["logit_scale"].exp() * (words @ vector) / vector.norm())[index]

    step, patches = 1e-5, len(normed) - 1
    block, _ = last_block(encoders, image)
    seen = 0
    for index in range(len(WORDS)):
        slopes = []
        for channel in range(normed.shape[1]):
            moved = torch.zeros_like(normed)
            moved[1:, channel] = step
            slopes.append((probability(normed + moved, index) - probability(normed - moved, index)) / (2 * step))
        cam = (normed[1:] @ (torch.stack(slopes) / patches)).clamp_min(0)
        expected = scaled(cam)
        seen += int(cam.max() > 0)
        torch.testing.assert_close(block.grad_cam(words, index).double(), expected, atol=1e-4, rtol=0)
    assert seen >= 2


def test_attention_is_the_mean_over_heads_and_the_last_eight_blocks(image):
    encoders = small_encoders(layers=9, dtype=torch.float64)
    slow = SlowImageEncoder(encoders.model, image[0])
    maps = []
    for layer in range(1, 9):
        parts = slow.heads(layer, slow.inputs[layer])
        for q, k in zip(parts["q"], parts["k"], strict=True):
            maps.append(softmax(q @ k.T / q.shape[-1] ** 0.5)[1:, 1:])
    _, attention = last_block(encoders, image)
    torch.testing.assert_close(attention.double(), torch.stack(maps).mean(dim=0), atol=1e-6, rtol=1e-4)


def test_the_transition_matrix_is_nearly_doubly_stochastic():
    attention = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)) + 0.1
    matrix = transition_matrix(attention)
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.sum(dim=0), torch.ones(12), atol=1e-3, rtol=0)


def test_boxes_are_around_connected_parts_and_leave_the_last_row_and_column_out():
    cam = torch.zeros(6, 7)
    cam[1, 1] = cam[2, 2] = 1.0  # connected at a corner
    cam[4:, 5:] = 0.8  # reaches the last row and column
    cam[0, 6] = 0.3  # below 0.4 of the highest
    expected = torch.zeros(6, 7)
    expected[1:3, 1:3] = 1
    expected[4, 5] = 1
    assert torch.equal(boxes(cam, 0.4), expected)
    assert not boxes(torch.zeros(6, 7), 0.4).any()


def test_proposals_are_refined_inside_the_boxes(encoders, image):
    words, rivals = encoders.phrase_vectors(WORDS).double(), encoders.phrase_vectors(["tree"]).double()
    maps = proposals(encoders, image, words, rivals, 0.4)
    block, attention = last_block(encoders, image)
    transition = transition_matrix(attention)
    for index, proposal in enumerate(maps):
        cam = block.grad_cam(torch.cat([words, rivals]), index)
        cam = cam if cam.any() else block.grad_cam(words, index)
        inside = boxes(cam.view(4, 4), 0.4).flatten()
        spread = torch.stack([sum(transition[i, j] * inside[j] * cam[j] for j in range(16)) for i in range(16)])
        torch.testing.assert_close(proposal.flatten(), scaled(spread))
    assert maps.flatten(1).amax(dim=1).sum() >= 2


def test_a_mark_is_an_ellipse_and_a_blur_outside_of_the_mask():
    image = (torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(4)) * 255).round() / 255
    cam = torch.zeros(40, 50)
    cam[10:30, 15:35] = 1
    pixels = (marked(image, cam)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    plain = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    red = (pixels == (255, 0, 0)).all(axis=-1)
    # about the mask's centre, with its half sides as axes
    assert red[19, 14]
    assert red[9, 24]
    assert not red[19, 24]
    blurred = cv2.GaussianBlur(plain, (15, 15), 0)
    inside = np.zeros((40, 50), bool)
    inside[10:30, 15:35] = True
    assert np.array_equal(pixels[inside & ~red], plain[inside & ~red])
    assert np.array_equal(pixels[~inside & ~red], blurred[~inside & ~red])
    assert torch.equal(marked(image, torch.zeros(40, 50)), image)  # nothing to mark


def test_the_second_look_skips_the_last_block(encoders, image):
    slow = SlowImageEncoder(encoders.model, image[0])
    torch.testing.assert_close(look(encoders, image)[0].double(), normalize(slow.projected(slow.inputs[-2])[0], dim=0))


def test_confidence_sums_the_templates_probabilities_and_takes_a_second_softmax(encoders, image):
    method = ClipAsRnn(encoders, encoders, None)
    cams = torch.zeros(2, 32, 32)
    cams[0, 4:20, 4:20] = cams[1, 10:30, 10:30] = 1
    total = torch.zeros(2, 2)
    for row, cam in enumerate(cams):
        vector = look(encoders, marked(image, cam))[0]
        for template in LOOK_TEMPLATES:
            words = encoders.sentence_vectors(["cat", "boat"], template)
            total[row] += softmax(encoders.model.logit_scale.exp().float() * (words @ vector))
    torch.testing.assert_close(method.confidence(image, cams, ["cat", "boat"]), softmax(total).diagonal())


@pytest.fixture
def method():
    return ca_seg.method("clip-as-rnn", model=small_clip(), tokenizer=small_tokenizer())


def test_phrases_drop_out_until_none_does(method, monkeypatch):
    rounds = []

    def confidence(self, image, cams, phrases):
        rounds.append(list(phrases))
        unseen = {1: "grass", 2: "sky"}.get(len(rounds))
        return torch.tensor([0.1 if phrase == unseen else 0.9 for phrase in phrases])

    monkeypatch.setattr(ClipAsRnn, "confidence", confidence)
    maps = method.predict(torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(5)), WORDS)
    assert rounds == [WORDS, ["cat", "sky", "boat"], ["cat", "boat"]]
    assert maps.shape == (1, 4, 40, 50)
    assert not maps[0, 1].any()
    assert not maps[0, 2].any()
    assert maps[0, 0].any()


def test_there_are_two_rounds_at_least_and_the_second_has_other_sentences(method, monkeypatch):
    asked = []
    proposed = clip_as_rnn.proposals

    def recorded(clip, image, words, *others):
        asked.append(words)
        return proposed(clip, image, words, *others)

    monkeypatch.setattr(clip_as_rnn, "proposals", recorded)
    monkeypatch.setattr(ClipAsRnn, "confidence", lambda self, image, cams, phrases: torch.ones(len(phrases)))
    method.predict(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(5)), WORDS)
    clip = method.predictor.clip
    assert len(asked) == 2
    torch.testing.assert_close(asked[0], clip.phrase_vectors(WORDS, ["{}"]))
    torch.testing.assert_close(asked[1], clip.phrase_vectors(WORDS, ["a clean origami {}."]))


def test_the_best_phrase_stays_where_none_is_seen(method, monkeypatch):
    monkeypatch.setattr(
        ClipAsRnn, "confidence", lambda self, image, cams, phrases: torch.tensor([0.2, 0.3, 0.1, 0.0])[: len(phrases)]
    )
    maps = method.predict(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(5)), WORDS)
    assert [index for index in range(4) if maps[0, index].any()] == [1]


def test_a_background_is_what_no_other_class_is(method):
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(6))
    maps = method.predict(image, {"cat": ["cat", "kitten"], "background": ["background", "wall"], "boat": "boat"})[0]
    torch.testing.assert_close(maps[1], 1 - maps[[0, 2]].amax(dim=0))
    assert torch.equal(method.predict(image, ["background"]), torch.ones(1, 1, 32, 32))


def test_words_that_are_asked_are_no_rivals():
    rivals = rival_words(["Grass ", "cat"], ["wall", "shadow"])
    assert rivals[:2] == ["wall", "shadow"]
    assert set(rivals) == (set(BACKGROUND_WORDS) | {"shadow"}) - {"grass"}


def test_large_images_are_scaled_down(method, monkeypatch):
    monkeypatch.setattr(clip_as_rnn, "LARGEST", 32)
    assert method.predict(torch.rand(3, 64, 96), ["cat"]).shape == (1, 1, 32, 48)


def test_opencv_is_asked_for_before_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match="cv2"):
        ca_seg.method("clip-as-rnn")
