"""Train the decoder from features to pixels: `python -m recipes.photo.decoder [--minutes 8]`.

The features of an image classifier do not hold every detail, so pictures come back blurred. The decoder shows what a
generated grid of features looks like; it plays no part in segmentation. It goes on from `decoder.pt` if that exists.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import l1_loss, pixel_shuffle

from ca_seg.backbones.feature_codec import STRIDE, on_one_grid
from recipes.photo.cache import SCALE, as_pixels, open_codec
from recipes.photo.fetch import CACHE
from recipes.photo.pack import read_shard

BATCH = 12
NOISE = 0.1  # a generated grid is not exact


def train_decoder(cache: Path, run: Path, minutes: float, rate: float = 2e-3) -> float:
    """Train for so many minutes, write `decoder.pt` in the run's folder, and return the last mean absolute error."""
    decoder, target = open_codec(cache).decoder.requires_grad_(True).train(), run / "decoder.pt"
    if target.exists():
        decoder.load_state_dict(torch.load(target, weights_only=True))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=rate, weight_decay=0.01)
    shards = sorted((cache / "features").glob("[0-9]*.json"))
    rng, begun, errors = np.random.default_rng(int(time.time())), time.monotonic(), [float("nan")]
    while time.monotonic() - begun < minutes * 60:
        base = shards[rng.integers(len(shards))]
        pictures = as_pixels([pixels for _, pixels in read_shard(cache / "shards" / f"{base.stem}.tar")])
        features = [torch.from_numpy(np.load(base.with_suffix(f".{part}.npy"))) for part in ("fine", "coarse")]
        for rows in torch.from_numpy(rng.permutation(len(pictures))).split(BATCH):
            elapsed = (time.monotonic() - begun) / (minutes * 60)
            for group in optimizer.param_groups:
                group["lr"] = rate * max(0.02, 1 - elapsed)
            grid = on_one_grid(*(part[rows].float() / SCALE for part in features))
            image = pixel_shuffle(decoder(grid + NOISE * torch.randn_like(grid)), STRIDE)
            loss = l1_loss(image, pictures[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            errors.append(loss.item())
        print(f"{(time.monotonic() - begun) / 60:.1f} min: mean absolute error {np.mean(errors[-20:]):.4f}", flush=True)
    torch.save(decoder.state_dict(), target)
    return float(np.mean(errors[-20:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path("runs/photo"))
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train_decoder(args.cache, args.out, args.minutes)
