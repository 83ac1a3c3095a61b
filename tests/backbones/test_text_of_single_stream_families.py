"""What the text of ERNIE-Image, Lumina-Image, Krea 2 and LongCat-Image does beyond the families' contract."""

from __future__ import annotations

import pytest
import torch

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.concept.record import record_streams
from ca_seg.errors import UserError
from tests.small_models import random_latents, random_text, small_model, small_transformer
from tests.tiny_chat_pipelines import tiny_longcat_image

LENGTHS = (7, 4)


def recorded(family, model, latents, text):
    inputs = family.inputs(model, latents, text, torch.full((len(latents),), 0.4), 0.0)
    streams, _ = record_streams(
        model,
        family.attentions(model),
        inputs,
        image_tokens=family.grid(model, inputs).tokens,
        text_first=family.text_first,
        last_layer=2,
    )
    return streams


@pytest.mark.parametrize("name", ["ernie-image", "krea2"])
@torch.no_grad()
def test_padding_of_a_shorter_prompt_changes_nothing(name):
    family = find_family(name)
    model, latents, hidden = small_transformer(family), random_latents(family, 2), random_text(family, 2, 7, 3).hidden
    mask = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    together = recorded(family, model, latents, TextTokens(hidden.masked_fill(~mask[..., None], 0.0), mask=mask))
    for row, length in enumerate(LENGTHS):
        alone = recorded(family, model, latents[row : row + 1], TextTokens(hidden[row : row + 1, :length]))
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours.output[row : row + 1], theirs.output, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_lumina_cuts_padding_off_and_refuses_prompts_of_different_lengths():
    family = find_family("lumina2")
    model, latents, hidden = small_transformer(family), random_latents(family, 2), random_text(family, 2, 7, 3).hidden
    same = torch.arange(7).expand(2, -1) < 4
    cut = recorded(family, model, latents, TextTokens(hidden[:, :4]))
    for ours, theirs in zip(recorded(family, model, latents, TextTokens(hidden, mask=same)), cut, strict=True):
        torch.testing.assert_close(ours.output, theirs.output, atol=1e-5, rtol=1e-5)
    mask = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    with pytest.raises(UserError, match="different lengths"):
        recorded(family, model, latents, TextTokens(hidden, mask=mask))


@torch.no_grad()
def test_longcats_reference_picture_is_counted_apart():
    family = find_family("longcat-image")
    model, grid = small_transformer(family), small_model(family).grid
    call = family.inputs(model, random_latents(family, 1), random_text(family, 1, 7, 1), torch.tensor([0.4]), 0.0)
    reference = torch.tensor([[2.0, 512 + row, 512 + column] for row in range(4) for column in range(7)])
    call["img_ids"] = torch.cat([call["img_ids"], reference])
    assert family.grid(model, call) == grid
    assert family.reference_tokens(model, call) == 28


@torch.no_grad()
def test_longcat_reads_quoted_letters_one_by_one():
    pipeline, _, _ = tiny_longcat_image()
    family = find_family("longcat-image")
    [encoded] = family.encode_text(pipeline, ["a 'cat' in grass"], 40)
    letters = len("'cat'")
    assert encoded.is_word.nonzero().flatten().tolist() == list(range(1 + letters + 2))
    with pytest.raises(UserError, match="8 tokens"):
        family.encode_text(pipeline, ["a 'cat' in grass"], 7)
