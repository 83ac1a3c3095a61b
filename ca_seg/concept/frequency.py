"""How fine the features of a recording are: the share of high spatial frequencies in its attention outputs.

    outputs of a layer, without their mean over the image ──► Fourier transform ──► energy above 1/4 cycle per token
                                                                                    ───────────────────────────────
                                                                                             all energy

A-SelecT (arXiv 2603.25758) takes, without labels, the timestep whose features have the largest high-frequency ratio.
Its code was not found: the limit of 1/4 cycle, half of the highest frequency of a row of tokens, is ours, and so is the
choice for each image on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ca_seg.concept.choices import HIGH_FREQUENCY
from ca_seg.concept.recording import Recording

LIMIT = 0.25  # cycles per token
TINY = 1e-12


def of_chosen_timestep(recording: Recording, choice: str, timesteps: Sequence[float] | None) -> Recording:
    """What maps read of a recording: all of it, or of each image the noised copies of one timestep.

    Args:
        recording: of these timesteps, with as many noise samples of each
        choice: mean (everything), or high-frequency (of each image the timestep with the largest ratio)
        timesteps: in the order of the noised copies
    """
    if choice != HIGH_FREQUENCY or timesteps is None:
        return recording
    samples, batch = recording.noised_copies // len(timesteps), recording.batch
    ratios = copy_ratios(recording).unflatten(0, (len(timesteps), samples)).mean(dim=1)  # [timesteps, B]
    copies = ratios.argmax(dim=0) * samples + torch.arange(samples, device=ratios.device)[:, None]  # [samples, B]
    rows = (copies * batch + torch.arange(batch, device=ratios.device)).flatten()
    return replace(recording.rows(rows), noised_copies=samples, levels_alike=False)


def high_frequency_ratio(recording: Recording, layers: Sequence[int] | None = None) -> torch.Tensor:
    """The ratio of each image [B], 0 to 1: the mean over layers, noised copies and frames. See `copy_ratios`."""
    return copy_ratios(recording, layers).mean(dim=0)


def copy_ratios(recording: Recording, layers: Sequence[int] | None = None) -> torch.Tensor:
    """The ratio of each noised copy of each image [copies, B], 0 to 1: the mean over layers and frames.

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
    return by_row.unflatten(0, (recording.noised_copies, -1))


def ratio_of_maps(maps: torch.Tensor) -> torch.Tensor:
    """Maps [..., channels, h, w] to the share [...] of their energy above `LIMIT`; 0 where they are constant."""
    height, width = maps.shape[-2:]
    varying = maps - maps.mean(dim=(-2, -1), keepdim=True)
    energy = torch.fft.fft2(varying).abs().square().sum(dim=-3)
    rows, columns = (torch.fft.fftfreq(size, device=maps.device) for size in (height, width))
    high = (rows[:, None].square() + columns.square()).sqrt() > LIMIT
    return (energy * high).sum(dim=(-2, -1)) / energy.sum(dim=(-2, -1)).clamp_min(TINY)
