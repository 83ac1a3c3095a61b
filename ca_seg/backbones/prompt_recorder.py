"""What records the attention to a prompt's words, for a family's own order of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ca_seg.backbones.families.base import Family
from ca_seg.concept.prompt_attention import PromptAttentionRecorder, Tokens
from ca_seg.errors import UserError


def prompt_recorder(
    family: Family, transformer: Any, tokens: Sequence[Tokens] | None, image_tokens: int, last_layer: int
) -> PromptAttentionRecorder | None:
    """The recorder for rows with these tokens; None where there are none.

    Raises UserError for a family whose prompt does not keep its tokens apart and in order.
    """
    if tokens is None:
        return None
    if not family.prompt_in_order:
        raise UserError(
            f"the family {family.name} mixes the words of its prompt before the transformer reads them",
            fix="take a reader that does not look at the prompt's words, such as 'concepts'",
        )
    return PromptAttentionRecorder(
        tokens,
        image_tokens=image_tokens,
        text_first=family.text_first,
        registers=family.registers(transformer),
        last_layer=last_layer,
    )
