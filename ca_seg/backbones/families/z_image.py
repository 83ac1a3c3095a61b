"""Z-Image: one transformer stream for text and image, image first; both are padded to multiples of 32.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens
joint sequence: [image, its padding, text, its padding]

Learned tokens stand for padding, and attend. They are no part of the image: it is the first h * w tokens. Text token i
stands at 1 + i on the first axis, the image behind the padded text. Concepts all stand at 1, and have no padding: while
they are asked, it is taken out of every block.

    image, padding | c0 c1 c2, padding  ──►  image | c0 c1 c2        c0, c1, c2 at one place

Both sides pass blocks of their own (refiners) before they meet. Concepts go through the text's together, as a prompt's
tokens do: what a concept says depends on which others were asked with it, but not on their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, SmallModel, TextTokens
from ca_seg.backbones.text.template_tokens import own_in_template
from ca_seg.concept.grid import Grid

MULTIPLE = 32  # of tokens, to which the transformer pads image and text
PATCH = 2  # the transformer's default, the only one that is published


class ZImage(Family):
    """diffusers' `ZImageTransformer2DModel`: Z-Image and Z-Image-Turbo."""

    name = "z-image"
    transformer = "ZImageTransformer2DModel"
    pipeline = "ZImagePipeline"
    text_first = False
    block_lists = ("layers",)
    per_call = ("t", "joint_attention_kwargs")
    prompt_first = True
    small = SmallModel(
        config={
            "in_channels": 4,
            "dim": 64,
            "n_layers": 3,
            "n_refiner_layers": 2,
            "n_heads": 4,
            "n_kv_heads": 4,
            "qk_norm": True,
            "cap_feat_dim": 24,
            "axes_dims": (4, 6, 6),
            "axes_lens": (128, 32, 32),
        },
        text=24,
        pooled=None,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attention  # type: ignore[return-value]

    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        height, width = inputs["x"][0].shape[-2:]
        return Grid(height // PATCH, width // PATCH)

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The stock pipeline's list of images as one tensor, which the transformer goes through in the same way."""
        return {"x": latents[:, :, None], "t": 1 - timesteps}

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        if concepts or text.mask is None:
            return {"cap_feats": text.hidden}
        return {"cap_feats": _without_padding(text.hidden, text.mask)}

    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"x": torch.stack([torch.zeros_like(latents[..., :PATCH, :PATCH]) for latents in inputs["x"]])}

    @contextmanager
    def asking(self, transformer: nn.Module, grid: Grid) -> Iterator[None]:
        """Blocks without padding, and every concept at the first place of a prompt."""
        call = _Call()

        def begin(model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            call.image, call.concepts = self.grid(transformer, kwargs).tokens, kwargs["cap_feats"].shape[1]

        hooks = [transformer.register_forward_pre_hook(begin, with_kwargs=True)]
        for blocks, change in (("context_refiner", call.refine), ("layers", call.join)):
            hooks += [block.register_forward_pre_hook(change) for block in getattr(transformer, blocks)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The whole chat template attends, its head and its tail; padding is gone."""
        template = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": "{}"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        rows = own_in_template(pipeline.tokenizer, template, texts, 0, length)
        hidden, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=length)
        return [EncodedText(tokens, own[: len(tokens)]) for tokens, own in zip(hidden, rows, strict=True)]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        mask = torch.ones_like(text.hidden[..., 0], dtype=torch.bool) if text.mask is None else text.mask
        own = _without_padding(text.hidden, mask)
        return {"prompt_embeds": own, "negative_prompt_embeds": [torch.zeros_like(tokens) for tokens in own]}


@dataclass
class _Call:
    """What blocks are given while concepts are asked: (tokens, mask, places, ...) without padding."""

    image: int = 0  # tokens of the image
    concepts: int = 0

    def refine(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The text's own blocks: the length stays, concepts do not look at padding."""
        tokens, _, places, *more = args
        seen = torch.arange(tokens.shape[1], device=tokens.device) < self.concepts
        return (tokens, seen.expand(len(tokens), -1), places[:, :1].expand_as(places), *more)

    def join(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The joint blocks: the first is given padding among the tokens, all are given its places."""
        tokens, _, places, *more = args
        start = -(-self.image // MULTIPLE) * MULTIPLE
        if tokens.shape[1] == places.shape[1]:
            tokens = torch.cat([tokens[:, : self.image], tokens[:, start : start + self.concepts]], dim=1)
        one = places[:, start : start + 1].expand(-1, self.concepts, -1)
        return (tokens, None, torch.cat([places[:, : self.image], one], dim=1), *more)


def _without_padding(hidden: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """Each row's own tokens [T, text_dim]."""
    return [tokens[own] for tokens, own in zip(hidden, mask, strict=True)]
