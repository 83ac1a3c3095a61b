"""Z-Image (Cai et al., 2025, arXiv:2511.22699): one transformer stream for text and image, image first.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens
joint sequence: [image, its padding, text, its padding]

Image and text are padded to multiples of 32 with learned tokens, which take part in the attention. The image is the
first h * w tokens. Text token i is at position 1 + i on the first axis, the image after the padded text. All concepts
are at position 1 and have no padding: while they are asked, it is removed from every block.

    image, padding | c0 c1 c2, padding  ──►  image | c0 c1 c2        c0, c1, c2 at the same position

Image and text first pass separate blocks (refiners). Concepts go through those of the text together, as a prompt's
tokens do: the map of a concept depends on which other concepts are asked with it, but not on their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, TextTokens
from ca_seg.backbones.text.template_tokens import words_in_template
from ca_seg.concept.grid import Grid

PADDED_TO = 32  # image and text are padded to multiples of so many tokens
PATCH = 2  # the transformer's default, and the only one in published weights


class ZImage(Family):
    """diffusers' `ZImageTransformer2DModel`: Z-Image and Z-Image-Turbo."""

    name = "z-image"
    transformer = "ZImageTransformer2DModel"
    pipeline = "ZImagePipeline"
    prompt_in_order = False
    words_apart = False
    text_first = False
    block_lists = ("layers",)
    image_parts = ("noise_refiner",)
    per_call = ("t", "joint_attention_kwargs")
    prompt_first = True

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attention  # type: ignore[return-value]

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        height, width = inputs["x"][0].shape[-2:]
        return Grid(height // PATCH, width // PATCH)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """One tensor instead of the stock pipeline's list of images; the transformer iterates over both alike."""
        return {"x": latents[:, :, None], "t": 1 - timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        if concepts or text.mask is None:
            return {"cap_feats": text.hidden}
        return {"cap_feats": text.without_padding()}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"x": torch.stack([torch.zeros_like(latents[..., :PATCH, :PATCH]) for latents in inputs["x"]])}

    @contextmanager
    def asking(self, transformer: Any, grid: Grid) -> Iterator[None]:
        """Blocks without padding, and every concept at the first position of a prompt.

        Only in this thread: a recording of the same model may go on in another one.
        """
        call = _WithoutPadding()

        def begin(model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            call.image_tokens, call.concepts = self.grid(transformer, kwargs).tokens, kwargs["cap_feats"].shape[1]

        hooks = [transformer.register_forward_pre_hook(begin, with_kwargs=True)]
        for blocks, change in (("context_refiner", call.refine), ("layers", call.join)):
            hooks += [block.register_forward_pre_hook(change) for block in getattr(transformer, blocks)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The whole chat template attends, its head and its tail; padding is removed."""
        template = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": "{}"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        rows = words_in_template(pipeline.tokenizer, template, texts, 0, length)
        hidden, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=length)
        return [EncodedText(tokens, is_word[: len(tokens)]) for tokens, is_word in zip(hidden, rows, strict=True)]

    def loop_latents(self, transformer: Any, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        rows = text.without_padding()
        away = [torch.zeros_like(tokens) for tokens in rows] if negative is None else negative.without_padding()
        return {"prompt_embeds": rows, "negative_prompt_embeds": away}


@dataclass
class _WithoutPadding:
    """Changes the arguments of blocks, (tokens, mask, positions, ...), while concepts are asked."""

    image_tokens: int = 0
    concepts: int = 0
    thread: int = field(default_factory=get_ident)

    def refine(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The blocks of the text: the length stays, concepts do not attend to padding."""
        if get_ident() != self.thread:
            return args
        tokens, _, positions, *others = args
        attended = torch.arange(tokens.shape[1], device=tokens.device) < self.concepts
        return (tokens, attended.expand(len(tokens), -1), positions[:, :1].expand_as(positions), *others)

    def join(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The joint blocks: the first gets padding among its tokens, all get the positions of padding."""
        if get_ident() != self.thread:
            return args
        tokens, _, positions, *others = args
        image, start = self.image_tokens, -(-self.image_tokens // PADDED_TO) * PADDED_TO
        if tokens.shape[1] == positions.shape[1]:
            tokens = torch.cat([tokens[:, :image], tokens[:, start : start + self.concepts]], dim=1)
        first = positions[:, start : start + 1].expand(-1, self.concepts, -1)
        return (tokens, None, torch.cat([positions[:, :image], first], dim=1), *others)
