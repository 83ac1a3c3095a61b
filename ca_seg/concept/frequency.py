"""How fine the features of a recording are: the share of high spatial frequencies in its attention outputs.

    outputs of a layer, without their mean over the image ──► Fourier transform ──► energy above 1/4 cycle per token
                                                                                    ───────────────────────────────
                                                                                             all energy

A-SelecT (arXiv 2603.25758) takes, without labels, the timestep whose features have the largest high-frequency ratio.
Its code was not found: the limit of 1/4 cycle, half of the highest frequency of a row of tokens, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ca_seg.concept.recording import Recording

LIMIT = 0.25  # cycles per token
TINY = 1e-12


def high_frequency_ratio(recording: Recording, layers: Sequence[int] | None = None) -> torch.Tensor:
    """The ratio of each image [B], 0 to 1: the mean over layers, noised copies and frames.

    Args:
        recording: with the attention outputs of the layers
        layers: which; None: those of the recording
    """
    ratios = []
    for layer in recording.layers if layers is None else layers:
        output = recording.streams[layer].part("output").float()
        maps = recording.grid.unflatten(output.transpose(2, 3).flatten(1, 2))  # [copies * B, channels, (frames,) h, w]
        ratios.append(ratio_of_maps(maps.transpose(1, 2) if maps.ndim == 5 else maps[:, None]))
    by_row = torch.stack(ratios).mean(dim=0).mean(dim=-1)
    return by_row.unflatten(0, (recording.noised_copies, -1)).mean(dim=0)


def ratio_of_maps(maps: torch.Tensor) -> torch.Tensor:
    """Maps [..., channels, h, w] to the share [...] of their energy above `LIMIT`; 0 where they are constant."""
    height, width = maps.shape[-2:]
    varying = maps - maps.mean(dim=(-2, -1), keepdim=True)
    energy = torch.fft.fft2(varying).abs().square().sum(dim=-3)
    rows, columns = (torch.fft.fftfreq(size, device=maps.device) for size in (height, width))
    high = (rows[:, None].square() + columns.square()).sqrt() > LIMIT
    return (energy * high).sum(dim=(-2, -1)) / energy.sum(dim=(-2, -1)).clamp_min(TINY)
