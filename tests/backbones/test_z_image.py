"""Details of Z-Image: padding, guidance in one batch, and concepts against the blocks called one by one."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import record_streams
from tests.naive_families import plain_attention
from tests.tiny_chat_pipelines import z_image_transformer
from tests.tiny_families import Run

FAMILY = find_family("z-image")
LENGTH = 40
PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
HEAD, TAIL = 2, 3  # tokens of the template before and behind a text


@pytest.fixture
def run():
    return Run("z-image")


@torch.no_grad()
def test_noise_is_0_to_this_model_and_an_ask_has_one_dummy_token(run):
    """In ca_seg, noise is 1."""
    _, calls = run.generate(prompt=PROMPT)
    assert torch.equal(calls[0]["t"], torch.zeros(1))
    for call in calls:
        concept_inputs = FAMILY.concept_inputs(run.pipeline.transformer, call)
        assert (concept_inputs["x"].shape, concept_inputs["t"].shape) == ((1, 4, 1, 2, 2), (1,))
        assert set(call) - {"x", "t", "cap_feats"} <= {"joint_attention_kwargs", "return_dict"}


def test_with_guidance_the_prompts_rows_are_asked(run):
    """The mean over the stock steps, each step's call repeated with the prompt alone."""
    backbone = run.backbone
    with GenerationTrace(backbone, WORDS, layers=[0, 2]) as trace:
        _, calls = run.generate(
            prompt=PROMPT, num_inference_steps=3, guidance_scale=4.0, negative_prompt="grass on the red sky"
        )
    total = torch.zeros(1, 3, 3, 5)
    stock = [call for call in calls if isinstance(call["cap_feats"], list)]  # those of the trace have a tensor
    assert len(stock) == 3
    for call in stock:
        x, t, features = call["x"], call["t"], call["cap_feats"]
        assert len(x) == len(features) == 2
        assert torch.equal(features[0], backbone.text.prompt([PROMPT]).hidden[0])
        latents = torch.stack(x[:1])[:, :, 0]
        recording = backbone.record_latents(latents, TextTokens(features[0][None]), 1 - t[:1], layers=[0, 2])
        total += recording.ask(WORDS).maps() / 3
    torch.testing.assert_close(trace.maps(), total, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_word_tokens_are_the_words(run):
    pipeline = run.pipeline
    [encoded] = FAMILY.encode_text(pipeline, ["red traffic light"], LENGTH)
    assert encoded.mask is None
    assert encoded.is_word.tolist() == [False] * HEAD + [True] * 3 + [False] * TAIL
    [stock], _ = pipeline.encode_prompt("red traffic light", do_classifier_free_guidance=False)
    assert torch.equal(encoded.hidden, stock)
    [changed] = FAMILY.encode_text(pipeline, ["red traffic grass"], LENGTH)
    last = HEAD + 2
    torch.testing.assert_close(encoded.hidden[:last], changed.hidden[:last])  # a causal encoder: the words before
    assert not torch.allclose(encoded.hidden[last], changed.hidden[last])
    [empty] = FAMILY.encode_text(pipeline, [""], LENGTH)
    assert int(empty.is_word.sum()) == 1


@torch.no_grad()
def test_images_are_recorded_and_asked_with_prompts_of_two_lengths(run):
    backbone = run.backbone
    images, prompts = torch.rand(2, 3, 30, 50), ["red traffic light " * 10, "cat"]  # 35 and 6 tokens: 64 and 32
    recording = backbone.record(images, prompt=prompts, timesteps=[0.2, 0.8], layers=[0, 2])
    maps = recording.ask(WORDS).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(recording.select(1).ask(WORDS).maps()[0], maps[1], atol=1e-5, rtol=1e-5)
    alone = backbone.record(images[1:], prompt="cat", timesteps=[0.2, 0.8], layers=[0, 2])
    torch.testing.assert_close(alone.ask(WORDS).maps()[0], maps[1], atol=1e-5, rtol=1e-5)


class Case:
    """A recording of 3 x 5 (padded) or 4 x 8 tokens (not padded), and the streams of concepts asked of it."""

    def __init__(self, height, width, concepts):
        generator = torch.Generator().manual_seed(7)
        self.latents = torch.randn(2, 4, 2 * height, 2 * width, generator=generator)
        self.prompt = TextTokens(torch.randn(2, 7, 24, generator=generator))
        self.concepts = torch.randn(2, concepts, 24, generator=generator)
        self.model, self.tokens = z_image_transformer(), height * width
        self.timesteps = torch.tensor([0.3, 0.7])

    @torch.no_grad()
    def record(self):
        self.inputs = FAMILY.inputs(self.model, self.latents, self.prompt, self.timesteps, 0.0)
        attentions = FAMILY.attentions(self.model)
        streams, _ = record_streams(
            self.model, attentions, self.inputs, image_tokens=self.tokens, text_first=False, last_layer=2
        )
        return streams

    @torch.no_grad()
    def ask(self, streams):
        call = FAMILY.concept_inputs(self.model, self.inputs)
        call |= FAMILY.text_inputs(self.model, TextTokens(self.concepts), concepts=True)
        layout = Layout(self.concepts.shape[1], text_first=False)
        with FAMILY.asking(self.model, FAMILY.grid(self.model, self.inputs)):
            return ask_streams(self.model, FAMILY.attentions(self.model), call, streams, layout)


@torch.no_grad()
def one_by_one(case, streams):
    """Queries, keys and attention outputs of the concepts, from the parts of the blocks, all at position (1, 0, 0)."""
    model = case.model
    x = model.cap_embedder(case.concepts)
    rotations = model.rope_embedder(torch.tensor([[1, 0, 0]]).expand(x.shape[1], -1))
    for block in model.context_refiner:
        x = block(x, None, rotations[None])
    time = model.t_embedder((1 - case.timesteps) * 1000)

    def rotated(y):
        pairs = torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * rotations[:, None]).flatten(-2).transpose(1, 2)

    concept_streams = []
    for block, image in zip(model.layers, streams, strict=True):
        scale, gate, scale_mlp, gate_mlp = block.adaLN_modulation(time)[:, None].chunk(4, dim=-1)
        attention, normed = block.attention, block.attention_norm1(x) * (1 + scale)
        query, key, value = (
            project(normed).unflatten(-1, (4, 16)) for project in (attention.to_q, attention.to_k, attention.to_v)
        )
        query, key, value = rotated(attention.norm_q(query)), rotated(attention.norm_k(key)), value.transpose(1, 2)
        keys, values = torch.cat([image.key, key], dim=2), torch.cat([image.value, value], dim=2)
        output = plain_attention(query, keys, values, None, None)
        concept_streams.append((query, key, output))
        joined = attention.to_out[0](output.transpose(1, 2).flatten(2))
        x = x + gate.tanh() * block.attention_norm2(joined)
        x = x + gate_mlp.tanh() * block.ffn_norm2(block.feed_forward(block.ffn_norm1(x) * (1 + scale_mlp)))
    return concept_streams


@pytest.mark.parametrize("concepts", [1, 4, 32, 33])
@pytest.mark.parametrize(("height", "width"), [(3, 5), (4, 8)])
def test_concepts_equal_the_blocks_called_one_by_one_without_padding(height, width, concepts):
    case = Case(height, width, concepts)
    streams = case.record()
    for asked, expected in zip(case.ask(streams), one_by_one(case, streams), strict=True):
        for ours, theirs in zip((asked.query, asked.key, asked.output), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_padding_affects_a_recording_as_in_the_stock_model_and_never_an_ask():
    case = Case(3, 5, 4)
    before = case.record()
    unchanged = case.ask(before)
    for token in (case.model.x_pad_token, case.model.cap_pad_token):
        torch.nn.init.constant_(token, 3.0)
    for ours, theirs in zip(case.ask(before), unchanged, strict=True):
        assert torch.equal(ours.output, theirs.output)
    after = case.record()
    assert not torch.allclose(after[0].output, before[0].output)


def test_the_image_is_recorded_after_its_prompt_and_concepts_have_its_first_position():
    case = Case(3, 5, 4)
    rotations = []
    hooks = [
        block.attention.register_forward_pre_hook(lambda m, a, k: rotations.append(k["freqs_cis"]), with_kwargs=True)
        for block in (*case.model.context_refiner, *case.model.layers)
    ]
    streams = case.record()
    recorded = len(rotations)
    case.ask(streams)
    for hook in hooks:
        hook.remove()
    refiner, joint = rotations[0], rotations[recorded - 1]
    first = case.model.rope_embedder(torch.tensor([[1, 0, 0]]))[0]
    corner = case.model.rope_embedder(torch.tensor([[33, 2, 4]]))[0]  # 7 tokens of prompt, padded to 32
    assert torch.equal(joint[:, 14], corner.expand(2, -1))
    assert torch.equal(joint[:, 32], first.expand(2, -1))
    assert torch.equal(refiner[:, 0], first.expand(2, -1))
    asked = rotations[recorded:]
    assert [rotation.shape[1] for rotation in asked] == [32, 32, 5, 5, 5]
    for rotation in asked:
        assert torch.equal(rotation[:, -4:], first.expand(2, 4, -1))
