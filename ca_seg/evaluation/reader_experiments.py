"""The experiments of an ablation that read one recording in several ways: readers and their parts, prompts, blur."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from ca_seg.backbones.loading.card import Card
from ca_seg.concept.blur import blurred
from ca_seg.concept.choices import ALL, NO_PROMPT, PRESENT, PROMPT_READERS, READERS
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.goca import goca
from ca_seg.concept.readers.gramcol import gramcol
from ca_seg.concept.readers.registry import read
from ca_seg.concept.readers.tokenrank import tokenrank

if TYPE_CHECKING:
    from ca_seg.evaluation.ablation import AblationGrid

EIGENVALUE = 0.7  # of GramCol's authors, for CogVideoX

Read = Callable[[ConceptFeatures], torch.Tensor]


def readings(
    grid: AblationGrid, prompt: str, card: Card, layers: int
) -> Iterator[tuple[str, str, Sequence[int], Read]]:
    """(table, entry, layers, class maps of features) of each experiment on recordings with one prompt.

    Args:
        grid: what is varied
        prompt: none, all or present; readers of concepts are tried without a prompt, readers of the prompt with `all`
        card: the backbone's
        layers: how many it has; each reader is tried on each alone, for some were published for one layer
    """
    plain: Read = lambda features: features.maps(space=card.space)  # noqa: E731
    if grid.prompt:
        yield "prompt", f"{prompt} (oracle)" if prompt == PRESENT else prompt, card.layers, plain
    if not grid.readers or prompt == PRESENT:
        return
    if prompt == NO_PROMPT:
        yield "reader", "concepts", card.layers, plain
        yield "reader", "concepts, blur", card.layers, lambda features: blurred(plain(features))
        yield "reader", "tokenrank, one bounce", card.layers, partial(tokenrank, bounces=1)
        yield "reader", "tokenrank, heads alike", card.layers, partial(tokenrank, weigh_heads=False)
        yield "reader", "gramcol, layers by eigenvalue", range(layers), partial(gramcol, least_eigenvalue=EIGENVALUE)
    for reader in READERS[1:]:
        if (reader in PROMPT_READERS) == (prompt == ALL):
            yield "reader", reader, card.layers, partial(read, reader)
            for layer in range(layers):
                yield "reader", f"{reader}, layer {layer}", [layer], partial(read, reader)
    if prompt == ALL:
        heads = partial(goca, weigh_heads=True, weigh_layers=False, rescale=False)
        weights = partial(goca, weigh_heads=False, weigh_layers=True, rescale=False)
        rescaling = partial(goca, weigh_heads=False, weigh_layers=False, rescale=True)
        for name, part in (("head weights", heads), ("layer weights", weights), ("rescaling", rescaling)):
            yield "reader", f"goca, only {name}", card.layers, part
