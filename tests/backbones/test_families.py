"""The contract of every registered family, on a small random model of its exact class."""

from __future__ import annotations

import pytest
import torch

from ca_seg.backbones.families.base import SkippedBlock, TextTokens
from ca_seg.backbones.families.registry import FAMILIES, diffusers_class, find_family, is_exported
from ca_seg.backbones.loading.partial import build, skip_later_blocks
from ca_seg.backbones.prompt_recorder import prompt_recorder
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import record_streams
from ca_seg.errors import UserError
from tests.naive_families import one_masked_pass, row_by_row, two_passes
from tests.small_models import PROMPT, random_latents, random_text, small_model, small_transformer

CONCEPTS = 4
# their text has positions or a refiner, so one masked pass is not possible
INNER_ORDER = {
    "qwen-image",
    "hunyuan-video",
    "hunyuan-image",
    "hunyuan-video-1.5",
    "z-image",
    "ernie-image",
    "krea2",
    "lumina2",
}

every_family = pytest.mark.parametrize("name", FAMILIES)


def close(ours, theirs, what):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5, msg=lambda text: f"{what}: {text}")


class Case:
    """Two rows at two timesteps, a prompt, and concepts whose pooled vector is the prompt's."""

    def __init__(self, name, batch=2):
        self.family = find_family(name)
        self.model = small_transformer(self.family)
        family = self.family
        self.timesteps = torch.tensor([0.3, 0.7])[:batch]
        self.latents = random_latents(family, 2)[:batch]
        self.prompt = random_text(family, 2, PROMPT, 3).each(lambda x: x[:batch])
        words = random_text(family, 2, CONCEPTS, 4).each(lambda x: x[:batch])
        self.concepts = TextTokens(words.hidden, self.prompt.pooled)
        self.tokens = small_model(family).grid.tokens

    @torch.no_grad()
    def record(self, *, last=None, stop_early=True):
        attentions = self.family.attentions(self.model)
        last = len(attentions) - 1 if last is None else last
        inputs = self.family.inputs(self.model, self.latents, self.prompt, self.timesteps, 3.5)
        streams, prediction = record_streams(
            self.model,
            attentions,
            inputs,
            image_tokens=self.tokens,
            text_first=self.family.text_first,
            last_layer=last,
            stop_early=stop_early,
        )
        return streams, prediction, self.family.concept_inputs(self.model, inputs)

    @torch.no_grad()
    def ask(self, streams, call, concepts=None):
        concepts = self.concepts if concepts is None else concepts
        count = concepts.hidden.shape[1]
        layout = Layout(count, self.family.text_first, self.family.registers(self.model))
        inputs = self.family.joined(call, self.family.text_inputs(self.model, concepts, concepts=True))
        with self.family.asking(self.model, small_model(self.family).grid):
            return ask_streams(self.model, self.family.attentions(self.model), inputs, streams, layout)

    def stock(self):
        inputs = self.family.inputs(self.model, self.latents, self.prompt, self.timesteps, 3.5)
        with torch.no_grad():
            return torch.stack(tuple(self.model(**inputs)[0]))  # Z-Image gives a list of images


@pytest.mark.parametrize(
    ("naive", "name"),
    [
        (naive, name)
        for name in FAMILIES
        for naive in (one_masked_pass, two_passes)
        if naive is two_passes or name not in INNER_ORDER
    ],
)
def test_every_layer_equals_the_naive_loops(name, naive):
    case = Case(name)
    family = case.family
    streams, _, call = case.record()
    concept = case.ask(streams, call)
    image = family.image_inputs(case.model, case.latents, case.timesteps, 3.5)
    naive = row_by_row(naive) if name == "mochi" else naive
    expected = naive(family, case.model, image, case.prompt, case.concepts, case.tokens)
    assert len(streams) == len(concept) == len(expected[0]) == len(family.blocks(case.model)) >= 3
    for ours, theirs, side in ((streams, expected[0], "image"), (concept, expected[1], "concept")):
        for layer, (stream, theirs_layer) in enumerate(zip(ours, theirs, strict=True)):
            for part in ("query", "key", "value", "output"):
                if getattr(stream, part) is not None:  # the image's queries are not kept
                    close(getattr(stream, part), theirs_layer[part], f"{part} of the {side} in layer {layer}")


@every_family
def test_recording_leaves_the_stock_prediction_bit_identical(name):
    case = Case(name)
    _, prediction, _ = case.record(stop_early=False)
    assert torch.equal(torch.stack(tuple(prediction[0])), case.stock())


@every_family
def test_early_stop_equals_the_full_run(name):
    case = Case(name)
    stopped, nothing, call = case.record(last=1)
    full, _, _ = case.record(stop_early=False)
    assert nothing is None
    assert len(stopped) == 2
    for layer, asked in enumerate(case.ask(stopped, call)):
        assert torch.equal(stopped[layer].output, full[layer].output)
        assert torch.equal(asked.output, case.ask(full, call)[layer].output)


@every_family
def test_a_model_without_its_later_blocks_gives_the_same_streams(name):
    case = Case(name)
    family = case.family
    full, _, call = case.record(last=1)
    concept = case.ask(full, call)
    skip_later_blocks(family, case.model, 2)
    assert len(family.blocks(case.model)) == 2
    lean, _, call = case.record(last=1)
    for layer, (ours, asked) in enumerate(zip(lean, case.ask(lean, call), strict=True)):
        assert torch.equal(ours.output, full[layer].output)
        assert torch.equal(asked.output, concept[layer].output)
    with pytest.raises(RuntimeError):
        case.stock()


@every_family
def test_a_batch_of_two_equals_two_of_one(name):
    both, alone = Case(name), Case(name, batch=1)
    streams, _, call = both.record()
    single, _, single_call = alone.record()
    pairs = zip(both.ask(streams, call), alone.ask(single, single_call), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.output[:1], theirs.output, atol=1e-5, rtol=1e-5)


@every_family
def test_permuting_concepts_permutes_their_outputs(name):
    case, order = Case(name), torch.tensor([2, 0, 3, 1])
    streams, _, call = case.record()
    plain = case.ask(streams, call)
    permuted = case.ask(streams, call, TextTokens(case.concepts.hidden[:, order], case.concepts.pooled))
    for ours, theirs in zip(permuted, plain, strict=True):
        torch.testing.assert_close(ours.output, theirs.output[:, :, order], atol=1e-5, rtol=1e-5)


@every_family
def test_tokens_are_at_their_row_and_column(name):
    """Changing the latents of one token changes the recorded image value of that token alone (layer 0)."""
    family = find_family(name)
    case, grid = Case(name), small_model(family).grid
    for block in getattr(case.model, "noise_refiner", ()):  # where the image attends to itself before layer 0
        torch.nn.init.zeros_(family.attention(block).to_out[0].weight)
    inputs = family.inputs(case.model, case.latents, case.prompt, case.timesteps, 3.5)
    assert family.grid(case.model, inputs) == grid
    before, _, _ = case.record(last=0)
    frame, row, column = grid.frames - 1, 2, 3
    height, width = (case.latents.shape[-2] // grid.height, case.latents.shape[-1] // grid.width)
    location = (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
    frame_latents = case.latents[:, :, frame] if family.video else case.latents
    frame_latents[..., location[0], location[1]] += 1
    after, _, _ = case.record(last=0)
    moved = (before[0].value - after[0].value).abs().amax(dim=(0, 1, 3)) > 1e-6
    assert int(moved.sum()) == 1
    changed = grid.unflatten(moved)
    assert bool((changed[frame] if family.video else changed)[row, column])


@every_family
def test_hooks_are_gone_after_success_and_after_an_exception(name):
    case = Case(name)
    family = case.family

    def hooks():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in case.model.modules())

    stock = case.stock()
    streams, _, call = case.record()
    case.ask(streams, call)
    assert hooks() == 0
    case.prompt = TextTokens(torch.randn(2, PROMPT, small_model(family).text + 1), case.prompt.pooled)
    with pytest.raises(RuntimeError):
        case.record()
    with pytest.raises(RuntimeError):
        case.ask(streams, call, TextTokens(torch.randn(2, CONCEPTS, small_model(family).text + 1), case.prompt.pooled))
    assert hooks() == 0
    case.prompt = random_text(family, 2, PROMPT, 3)
    assert torch.equal(case.stock(), stock)


@every_family
def test_asking_twice_of_one_recording_equals_two_fresh_runs(name):
    case = Case(name)
    family = case.family
    streams, _, call = case.record()
    other_concepts = TextTokens(random_text(family, 2, 6, 9).hidden, case.concepts.pooled)
    first, second = case.ask(streams, call), case.ask(streams, call, other_concepts)
    again, _, fresh = case.record()
    for ours, theirs in zip(
        first + second, case.ask(again, fresh) + case.ask(again, fresh, other_concepts), strict=True
    ):
        assert torch.equal(ours.output, theirs.output)


@pytest.mark.parametrize("name", [name for name in FAMILIES if find_family(name).words_apart])
def test_groups_in_one_pass_equal_a_pass_each(name):
    case = Case(name)
    streams, _, call = case.record()
    other = TextTokens(random_text(case.family, 2, 6, 9).hidden, case.concepts.pooled)
    both = TextTokens(torch.cat([case.concepts.hidden, other.hidden], dim=1), case.concepts.pooled)
    layout = Layout(CONCEPTS + 6, case.family.text_first, case.family.registers(case.model), (CONCEPTS, 6))
    assert layout.group_slices == (slice(0, CONCEPTS), slice(CONCEPTS, CONCEPTS + 6))
    inputs = case.family.joined(call, case.family.text_inputs(case.model, both, concepts=True))
    with torch.no_grad(), case.family.asking(case.model, small_model(case.family).grid):
        together = ask_streams(case.model, case.family.attentions(case.model), inputs, streams, layout)
    for group, concepts in zip(layout.group_slices, (case.concepts, other), strict=True):
        for ours, alone in zip(together, case.ask(streams, call, concepts), strict=True):
            close(ours.tokens(group).output, alone.output, "output")


@every_family
def test_a_meta_model_has_exactly_the_remaining_blocks(name):
    family = find_family(name)
    config = dict(small_transformer(family).config)
    whole, lean = build(family, config).state_dict(), build(family, config, 2).state_dict()
    assert all(tensor.is_meta or tensor.numel() for tensor in whole.values())
    remaining = {name: tensor.shape for name, tensor in lean.items()}
    assert remaining.items() <= {name: tensor.shape for name, tensor in whole.items()}.items()
    skipped = set(whole) - set(lean)
    assert skipped
    assert all(name.startswith(family.block_lists) for name in skipped)
    assert sum(isinstance(m, SkippedBlock) for m in build(family, config, 2).modules()) >= 1


@every_family
def test_the_registry_names_what_the_family_needs(name):
    family, entry = find_family(name), FAMILIES[name]
    assert (family.name, family.transformer, family.pipeline) == (name, entry.transformer, entry.pipeline)
    for class_name in (family.transformer, family.pipeline):
        assert is_exported(class_name)
        assert diffusers_class(family, class_name).__name__ == class_name


@pytest.mark.parametrize("name", [name for name in FAMILIES if find_family(name).prompt_in_order])
def test_the_tokens_of_the_prompt_are_where_readers_look(name):
    """At the first layer, another third word changes the third key of the prompt and no other."""
    case, keys = Case(name), []
    if name == "mochi":  # whose pooled text changes all tokens
        torch.nn.init.zeros_(case.model.time_embed.pooler.to_out.weight)
    recorder = prompt_recorder(case.family, case.model, [{"word": (2,)}] * 2, case.tokens, 0)

    def observe(layer, query, key, options):
        keys.append(key)
        recorder(layer, query, key, options)

    other = case.prompt.hidden.clone()
    other[:, 2] += 1
    for hidden in (case.prompt.hidden, other):
        text = TextTokens(hidden, case.prompt.pooled, case.prompt.mask)
        inputs = case.family.inputs(case.model, case.latents, text, case.timesteps, 3.5)
        attentions, order = case.family.attentions(case.model), case.family.text_first
        options = {"image_tokens": case.tokens, "text_first": order, "last_layer": 0}
        with torch.no_grad():
            record_streams(case.model, attentions, inputs, **options, observe=observe)
    changed = (keys[0] != keys[len(keys) // 2]).any(dim=3).any(dim=1)[0]
    assert changed.nonzero().flatten().tolist() == [recorder.first + 2]
    assert recorder.words[0].shape[2:] == (3, case.tokens)


def test_readers_of_the_prompt_are_refused_where_its_words_are_mixed():
    family = find_family("z-image")
    with pytest.raises(UserError, match="mixes the words"):
        prompt_recorder(family, None, [{"word": (0,)}], 4, 0)
