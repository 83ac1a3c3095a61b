"""Zero-shot maps brought to the image's edges: a pixel takes the classes of the tokens around it, in learnt shares.

    tokens around      shares that the net gives         a pixel of the token e
    a b c              w_a ... w_i, sum 1,               p = w_a p_a + ... + w_i p_i
    d e f         ×    for each of the token's    ──►
    g h i              stride x stride pixels

The shares come from all features by a small net that knows nothing of classes, so a few images teach it, and it holds
for words that no image of the training showed. Convex upsampling: Teed and Deng, RAFT (ECCV 2020), section 3.3.
At step 0 the shares are those of bilinear scaling, so training starts from the zero-shot map.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate, pad, unfold

from ca_seg.backbones.images import resize_out
from ca_seg.heads.batch_norm import SyncedBatchNorm2d
from ca_seg.heads.head import Head, HeadInput
from ca_seg.vocabulary import IGNORE_INDEX

LEAST = 1e-6  # a share below it counts as this much: log 0 is nobody's logit
OPEN = 1e-2  # of every neighbour at step 0: a share of 0 would learn nothing


class ConvexUpsamplingHead(Head):
    """Needs features with maps; of use with pixels among the parts. `width` is of the small net.

    Raises UserError without maps.
    """

    def __init__(self, given: HeadInput, *, width: int = 64) -> None:
        super().__init__(given)
        given.check_maps("convex-upsampling")
        self.others = others = given.channels - given.maps
        self.net = nn.Sequential(
            SyncedBatchNorm2d(others),
            nn.Conv2d(others, width, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, 9 * given.stride**2, kernel_size=1),
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.register_buffer("start", bilinear_shares(given.stride).add(OPEN).log(), persistent=False)

    def for_training(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Only the classes that the masks show, and all others as one: cross entropy is the same, and far quicker."""
        present = mask[mask != IGNORE_INDEX].unique()
        maps = features[:, self.others :]
        shown = maps[:, present]
        others = (maps.sum(dim=1, keepdim=True) - shown.sum(dim=1, keepdim=True)).clamp_min(0)
        place = torch.full((256,), IGNORE_INDEX, device=mask.device)
        place[present] = torch.arange(len(present), device=mask.device)
        return torch.cat([features[:, : self.others], shown, others], dim=1), place[mask]

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, h * stride, w * stride]: the logarithms of the shares."""
        stride, (height, width) = self.given.stride, features.shape[-2:]
        maps = features[:, self.others :]
        told = self.net(features[:, : self.others]).unflatten(1, (9, stride**2))
        shares = (told + self.start[..., None, None]).softmax(dim=1)  # [B, 9, stride^2, h, w]
        around = unfold(pad(maps, (1, 1, 1, 1), mode="replicate"), 3).unflatten(1, (-1, 9))  # [B, K, 9, h * w]
        mixed = around.permute(0, 3, 1, 2) @ shares.permute(0, 3, 4, 1, 2).flatten(1, 2)  # [B, h * w, K, stride^2]
        laid = mixed.unflatten(1, (height, width)).unflatten(4, (stride, stride)).permute(0, 3, 1, 4, 2, 5)
        return laid.flatten(4, 5).flatten(2, 3).clamp_min(LEAST).log()

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        logits = self.tokens(features)
        if logits.shape[-2:] == size:
            return logits
        return resize_out(logits.exp(), *size).clamp_min(LEAST).log()


def bilinear_shares(stride: int) -> torch.Tensor:
    """How much of its 3 x 3 tokens each pixel of a token takes when maps are scaled bilinear: [9, stride^2]."""
    one_each = torch.eye(9).view(1, 9, 3, 3)
    scaled = interpolate(one_each, scale_factor=stride, mode="bilinear", align_corners=False)
    return scaled[0, :, stride : 2 * stride, stride : 2 * stride].flatten(1)
