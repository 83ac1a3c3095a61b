"""Ovis-Image: FLUX.1's two kinds of blocks, gated MLPs, words from a chat model.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]

place of an image token (0, row, column), of text token i (0, i, i); concepts all stand at (0, 0, 0). No pooled text
vector and no guidance. Padding is zeros, and attends.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, SmallModel, TextTokens
from ca_seg.backbones.families.flux import PackedLatents
from ca_seg.backbones.text.template_tokens import own_by_difference
from ca_seg.backbones.text.tokens import shortened
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError


class OvisImage(PackedLatents):
    """diffusers' `OvisImageTransformer2DModel`: Ovis-Image-7B."""

    name = "ovis-image"
    transformer = "OvisImageTransformer2DModel"
    pipeline = "OvisImagePipeline"
    per_call = ("timestep", "joint_attention_kwargs")
    small = SmallModel(
        config={
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "axes_dims_rope": (4, 6, 6),
        },
        text=24,
        pooled=None,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        at = text.hidden.new_zeros(text.hidden.shape[1], 3)
        if not concepts:
            at[:, 1:] = torch.arange(len(at)).to(at)[:, None]
        return {"encoder_hidden_states": text.hidden, "txt_ids": at}

    def token_ids(self, pipeline: Any, text: str) -> torch.Tensor:
        """The ids of a text in the chat template, without padding and without a limit."""
        chat = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": pipeline.system_prompt + text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return torch.tensor(pipeline.tokenizer(chat, add_special_tokens=False)["input_ids"])

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """What follows the template's first tokens, which the pipeline drops; its last ones stay behind the text."""
        if "max_sequence_length" not in inspect.signature(pipeline.encode_prompt).parameters:
            raise UserError("this diffusers encodes Ovis-Image's texts at one length only", fix="upgrade diffusers")
        dropped, empty, encoded = pipeline.user_prompt_begin_id, self.token_ids(pipeline, ""), []
        for text in texts:
            ids = self.token_ids(pipeline, text)
            kept = len(ids) - dropped
            if kept > length:
                raise UserError(
                    f"the text {shortened(text)!r} has {kept} tokens", allowed=f"at most {length}", fix="shorten it"
                )
            own = torch.zeros(length, dtype=torch.bool)
            own[:kept] = own_by_difference(ids, empty)[dropped:]
            hidden = pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=length)[0]
            encoded.append(EncodedText(hidden[0], own))
        return encoded

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        """Without a negative prompt: zeros stand for it where guidance asks for one."""
        return {
            "prompt_embeds": text.hidden,
            "negative_prompt": None,  # the pipeline's own is "", which it does not take together with embeddings
            "negative_prompt_embeds": torch.zeros_like(text.hidden),
        }
