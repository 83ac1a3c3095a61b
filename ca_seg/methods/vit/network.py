"""A vision transformer of timm, run as it is: hooks record what a method reads, and are removed afterwards.

images [B, 3, H, W] ──resize, normalise──► pixels ──stock model──► logits [B, classes]
                                                       │ hooks
                                                       ▼
                                          attention of each block [B, heads, N, N]

the N tokens:   [class token, registers ..., patches row by row]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ca_seg.errors import OutOfRange, UserError
from ca_seg.methods.image_size import check_image_size

Recorded = dict[nn.Module, tuple[Tensor, Tensor]]  # the input and the output of a module


class VisionNetwork:
    """A timm VisionTransformer (or Eva) as methods read it.

    Args:
        model: has `blocks` with an `attn` of its own; other architectures are refused
        method: the name of the method, for errors
        device: where to compute; the model is moved there
        resolution: pixels of the short side, for a model with `dynamic_img_size`; None: the images' own size there, and
            the model's size for any other

    Raises:
        UserError: for another architecture, and a resolution where the model has a fixed one
    """

    def __init__(self, model: Any, method: str, *, device: str = "cpu", resolution: int | None = None) -> None:
        if not _is_vision_transformer(model):
            raise UserError(
                f"{method} cannot read a {type(model).__name__}",
                allowed="a timm VisionTransformer, whose blocks have an attention with softmax",
            )
        self.model: Any = model.to(device)
        self.method, self.device, self.resolution = method, torch.device(device), resolution
        size = model.patch_embed.patch_size
        self.patch: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        self.dynamic = bool(getattr(model, "dynamic_img_size", False))
        if resolution is not None and not self.dynamic:
            fix = "create the model with dynamic_img_size=True"
            raise UserError(f"resolution is given, and the model takes {self._fixed} only", fix=fix)
        if resolution is not None and resolution < max(self.patch):
            raise OutOfRange(f"resolution {resolution}", allowed=f"{max(self.patch)} (a patch) or more")
        from timm.data import resolve_model_data_config  # here, so that cards are listed without timm

        normalisation = resolve_model_data_config(model)
        self.mean, self.std = normalisation["mean"], normalisation["std"]

    @property
    def prefix(self) -> int:
        """Tokens before the patches: the class token and registers."""
        return int(self.model.num_prefix_tokens)

    @property
    def has_class_token(self) -> bool:
        return getattr(self.model, "cls_token", None) is not None

    @property
    def blocks(self) -> Sequence[Any]:
        blocks: Sequence[Any] = self.model.blocks
        return blocks

    @property
    def _fixed(self) -> str:
        height, width = self.model.patch_embed.img_size
        return f"{height} x {width} pixels"

    def settings(self) -> dict[str, Any]:
        """What its maps depend on, for results.json."""
        architecture = getattr(self.model, "pretrained_cfg", {}).get("architecture") or type(self.model).__name__
        return {
            "model": architecture,
            "blocks": len(self.blocks),
            "patch": list(self.patch),
            "size": self.resolution if self.dynamic else list(self.model.patch_embed.img_size),
        }

    def pixels(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 as the network takes them: resized (bicubic, antialiased) and normalised.

        A network of one size sees the image squeezed to it, as in its training and in the evaluations of the papers.
        """
        check_image_size(images, self.method, max(self.patch))
        size = self._size(images.shape[-2], images.shape[-1])
        images = images.to(self.device, torch.float32)
        if tuple(images.shape[-2:]) != size:
            images = interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.mean, self.std))
        pixels: Tensor = (images - mean) / std
        return pixels

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if not self.dynamic:
            fixed: tuple[int, int] = tuple(self.model.patch_embed.img_size)
            return fixed
        scale = 1.0 if self.resolution is None else self.resolution / min(height, width)
        rows, columns = (
            max(1, round(side * scale / patch)) for side, patch in zip((height, width), self.patch, strict=True)
        )
        return rows * self.patch[0], columns * self.patch[1]

    def run(self, images: Tensor, modules: Sequence[nn.Module] = (), *, gradients: bool = False) -> Trace:
        """Run images [B, 3, H, W] in 0..1 once.

        Args:
            images: in 0..1
            modules: whose inputs and outputs to record, beside the attention of every block
            gradients: keep the graph from the attention to the logits
        """
        with torch.inference_mode(False), torch.set_grad_enabled(gradients), ExitStack() as stack:
            pixels = self.pixels(images.clone()).requires_grad_(gradients)
            stack.enter_context(_evaluating(self.model))
            stack.enter_context(_softmax_computed(self.blocks))
            drops = [block.attn.attn_drop for block in self.blocks]
            recorded = stack.enter_context(_recording([*drops, *modules]))
            logits = self.model(pixels)
        rows, columns = (side // patch for side, patch in zip(pixels.shape[-2:], self.patch, strict=True))
        return Trace(self, pixels, logits, [recorded[drop][1] for drop in drops], recorded, (rows, columns))


@dataclass(frozen=True)
class Trace:
    """One run.

    Args:
        network: that ran
        pixels: [B, 3, H, W], resized and normalised
        logits: [B, classes]
        attention: of each block [B, heads, N, N]; rows sum to 1
        recorded: input and output of the recorded modules
        grid: rows and columns of the patches
    """

    network: VisionNetwork
    pixels: Tensor
    logits: Tensor
    attention: list[Tensor]
    recorded: Recorded
    grid: tuple[int, int]

    def image_row(self, tokens: Tensor) -> Tensor:
        """What the class token receives from each patch; without a class token, the mean over all patches.

        Args:
            tokens: [B, N, N], such as attention averaged over heads, or a product of it over blocks

        Returns:
            [B, rows, columns]
        """
        prefix = self.network.prefix
        rows = tokens[:, 0] if self.network.has_class_token else tokens[:, prefix:].mean(dim=1)
        return self.on_grid(rows[:, prefix:])

    def on_grid(self, patches: Tensor) -> Tensor:
        """Values of patches [B, P] as [B, rows, columns]."""
        return patches.reshape(len(patches), *self.grid)


def _is_vision_transformer(model: Any) -> bool:
    if not isinstance(model, nn.Module) or not hasattr(model, "patch_embed") or not hasattr(model, "num_prefix_tokens"):
        return False
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        return False
    attentions = [getattr(block, "attn", None) for block in blocks]
    return bool(attentions) and all(hasattr(a, "attn_drop") and hasattr(a, "fused_attn") for a in attentions)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In eval mode; every module has its own mode back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _softmax_computed(blocks: Sequence[Any]) -> Iterator[None]:
    """With the attention computed step by step in place of one fused kernel, which has no softmax to look at."""
    fused = [block.attn.fused_attn for block in blocks]
    for block in blocks:
        block.attn.fused_attn = False
    try:
        yield
    finally:
        for block, value in zip(blocks, fused, strict=True):
            block.attn.fused_attn = value


@contextmanager
def _recording(modules: Sequence[nn.Module]) -> Iterator[Recorded]:
    """The first input and the output of each module while it runs."""
    recorded: Recorded = {}

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        recorded[module] = (inputs[0], output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
