"""Record and ask in turns, for words that are known before the image is recorded.

record   block 0 |         block 1 |         block 2 |
ask              | block 0         | block 1         | block 2

Each block is asked right after it was recorded. Then its keys and values are not needed any more, and only what maps
read is kept: the attention outputs of the few layers that maps read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ca_seg.concept.choices import CONCEPT_PART, IMAGE_PART
from ca_seg.concept.compiled import uncompiled
from ca_seg.concept.record import Kept, Stream, check_recorded, stream_recorder
from ca_seg.concept.suspended import SuspendedPass
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class KnownWords:
    """Words that a recording will be asked, and how maps are read.

    Args:
        vocabularies: they are asked together, in one pass
        space: output, cross-attention or value
        concept_attention: what concepts attend to: both, cross, self or none
        parts: more parts of the image that are kept in the layers that maps read: query, key, value or output
    """

    vocabularies: tuple[Vocabulary, ...]
    space: str = "output"
    concept_attention: str = "both"
    parts: tuple[str, ...] = ()

    def check_alone(self, *, queries: bool, prompt: bool) -> None:
        """Raises UserError where queries or the attention to a prompt are wanted too: both are read with all layers."""
        if queries or prompt:
            raise UserError(
                f"known words with {'queries' if queries else 'phrases of the prompt'}, for which everything is kept",
                fix="record without `known`",
            )

    def kept_of_image(self, layers: Sequence[int]) -> Kept:
        """What is kept of the image, if maps read `layers`."""
        return Kept(tuple(layers), (IMAGE_PART[self.space], *self.parts))

    def kept_of_concepts(self, layers: Sequence[int]) -> Kept:
        """What is kept of the concepts."""
        return Kept(tuple(layers), (CONCEPT_PART[self.space],))


def record_and_ask(
    model: nn.Module,
    attentions: Sequence[nn.Module],
    blocks: Sequence[nn.Module],
    inputs: dict[str, Any],
    ask: Callable[[Sequence[Stream]], list[Stream]],
    *,
    image_tokens: int,
    text_first: bool,
    last_layer: int,
    kept: Kept,
    stop_early: bool = True,
) -> tuple[list[Stream], list[Stream], Any]:
    """Record as `record_streams` does, and ask each block right after it was recorded.

    Args:
        model: the stock transformer
        attentions: its joint attentions, layer by layer
        blocks: the blocks that hold them
        inputs: its arguments
        ask: the pass over the concepts up to `last_layer` (`ask_streams`); the list of recorded streams that it is
            given grows while it runs
        image_tokens, text_first, last_layer, stop_early: as in `record_streams`
        kept: what is kept of the image, once a layer was asked

    Returns:
        The image streams, the concept streams, and the model's output (None with `stop_early`).

    Raises:
        UserError: if the model's attention does not go through torch's scaled_dot_product_attention
    """
    image: list[Stream] = []
    concept: list[Stream] = []
    asking, ask_uncompiled = SuspendedPass(lambda: concept.extend(ask(image))), uncompiled(model)
    asked = 0

    def ask_block() -> None:
        nonlocal asked
        check_recorded(image, asked + 1)
        with ask_uncompiled:
            asking.resume()
        image[asked] = kept.of(asked, image[asked])
        asked += 1

    @torch.compiler.disable
    def after(block: nn.Module, args: Any, output: Any) -> None:
        if not asking.is_current and asked <= last_layer:
            ask_block()

    @torch.compiler.disable
    def before(block: nn.Module, args: Any) -> None:
        if asking.is_current:
            asking.pause()

    hooks = [block.register_forward_hook(after) for block in blocks[: last_layer + 1]]
    hooks += [block.register_forward_pre_hook(before) for block in blocks[1 : last_layer + 1]]
    recorder = stream_recorder(
        image, image_tokens=image_tokens, text_first=text_first, last_layer=last_layer, queries="query" in kept.parts
    )
    try:
        tap = AttentionTap(attentions, recorder, stop_after=last_layer if stop_early else None)
        prediction = tap.run(model, inputs)
        if asked <= last_layer:  # the pass ended inside the last block
            ask_block()
    finally:
        asking.close()
        for hook in hooks:
            hook.remove()
    check_recorded(concept, last_layer + 1)
    return image, concept, prediction
