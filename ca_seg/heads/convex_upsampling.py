"""Zero-shot maps upsampled along the image's edges: each pixel is a learnt mixture of the tokens around it.

    tokens around      weights from the net              a pixel of the token e
    a b c              w_a ... w_i, sum 1,               p = w_a p_a + ... + w_i p_i
    d e f         ×    for each of the token's    ──►
    g h i              stride x stride pixels

The weights come from all features, by a small net that does not see the classes. So few images are enough to train it,
and it works for words that were in no training image. Convex upsampling: Teed and Deng, RAFT (ECCV 2020), section 3.3.
At step 0 the weights are those of bilinear scaling, so training starts from the zero-shot map.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate, pad, unfold

from ca_seg.backbones.images import resize_out
from ca_seg.heads.batch_norm import SyncedBatchNorm2d
from ca_seg.heads.head import Head, HeadInput
from ca_seg.vocabulary import IGNORE_INDEX

MIN_PROBABILITY = 1e-6  # smaller ones are raised to it, to have a finite logarithm
MIN_WEIGHT = 1e-2  # added to every neighbour at step 0: a weight of 0 would have no gradient


class ConvexUpsamplingHead(Head):
    """A head for features with maps; it is most useful with `pixels` among the parts. `width` is that of the small net.

    Raises UserError for features without maps.
    """

    start: torch.Tensor  # the logits of the weights at step 0: [9, stride^2]

    def __init__(self, spec: HeadInput, *, width: int = 64) -> None:
        super().__init__(spec)
        spec.check_maps("convex-upsampling")
        self.others = others = spec.channels - spec.maps
        self.net = nn.Sequential(
            SyncedBatchNorm2d(others),
            nn.Conv2d(others, width, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.GELU(),
        )
        last = nn.Conv2d(width, 9 * spec.stride**2, kernel_size=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.net.append(last)
        self.register_buffer("start", bilinear_weights(spec.stride).add(MIN_WEIGHT).log(), persistent=False)

    def for_training(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the classes of the masks and merge all others into one: the same cross entropy, computed much faster."""
        present = mask[mask != IGNORE_INDEX].unique()
        maps = features[:, self.others :]
        present_maps = maps[:, present]
        others = (maps.sum(dim=1, keepdim=True) - present_maps.sum(dim=1, keepdim=True)).clamp_min(0)
        index = torch.full((IGNORE_INDEX + 1,), IGNORE_INDEX, device=mask.device)
        index[present] = torch.arange(len(present), device=mask.device)
        return torch.cat([features[:, : self.others], present_maps, others], dim=1), index[mask]

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, h * stride, w * stride]: the logarithms of the probabilities."""
        stride, (height, width) = self.spec.stride, features.shape[-2:]
        maps = features[:, self.others :]
        logits = self.net(features[:, : self.others]).unflatten(1, (9, stride**2))
        weights = (logits + self.start[..., None, None]).softmax(dim=1)  # [B, 9, stride^2, h, w]
        around = unfold(pad(maps, (1, 1, 1, 1), mode="replicate"), 3).unflatten(1, (-1, 9))  # [B, K, 9, h * w]
        mixed = around.permute(0, 3, 1, 2) @ weights.permute(0, 3, 4, 1, 2).flatten(1, 2)  # [B, h * w, K, stride^2]
        pixels = mixed.unflatten(1, (height, width)).unflatten(4, (stride, stride)).permute(0, 3, 1, 4, 2, 5)
        return pixels.flatten(4, 5).flatten(2, 3).clamp_min(MIN_PROBABILITY).log()

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        logits = self.tokens(features)
        if logits.shape[-2:] == size:
            return logits
        return resize_out(logits.exp(), *size).clamp_min(MIN_PROBABILITY).log()


def bilinear_weights(stride: int) -> torch.Tensor:
    """The weights of the 3 x 3 tokens around a token, for each of its pixels, in bilinear scaling: [9, stride^2]."""
    one_hot = torch.eye(9).view(1, 9, 3, 3)
    scaled = interpolate(one_hot, scale_factor=stride, mode="bilinear", align_corners=False)
    return scaled[0, :, stride : 2 * stride, stride : 2 * stride].flatten(1)
