"""The encoder's features of the packed pictures, 8 bits each: `python -m recipes.photo.cache`.

    features/encoder.json          fingerprint of the encoder and of the channels' means and deviations
    features/000.fine.npy          int8 [N, 112, 20, 20], unit variance is SCALE
    features/000.coarse.npy        int8 [N, 320, 10, 10]
    features/000.json              the pictures' words, in the same order

A picture takes 77 kB. A shard that exists is not made again, and one that was not finished has no `.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from ca_seg.atomic import atomic_write
from ca_seg.backbones.efficientnet_lite import CHANNELS
from ca_seg.backbones.feature_codec import FeatureCodec
from ca_seg.errors import UserError
from recipes.photo.encoder import encoder
from recipes.photo.fetch import CACHE
from recipes.photo.pack import read_shard

SCALE = 16  # int8 per standard deviation: steps of 1/16, up to 8 deviations
BATCH = 32


def fit(codec: FeatureCodec, pixels: torch.Tensor) -> None:
    """Set the mean and deviation of each channel from pictures."""
    with torch.inference_mode():
        for start, maps in enumerate(zip(*[codec.features(batch) for batch in pixels.split(BATCH)], strict=True)):
            rows = torch.cat([part.transpose(0, 1).flatten(1) for part in maps], dim=1)
            channels = slice(0, CHANNELS[0]) if start == 0 else slice(CHANNELS[0], None)
            codec.mean[channels] = rows.mean(dim=1)
            codec.deviation[channels] = rows.std(dim=1).clamp_min(1e-3)


def as_pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def fingerprint(codec: FeatureCodec) -> str:
    """Of everything that decides the features: the encoder's weights, the means and the deviations."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        if not name.startswith("decoder"):
            digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()


def open_codec(cache: Path, shipped: Path | None = None) -> FeatureCodec:
    """The codec that the features in `cache` were made with. If there is none, a copy of `shipped`, or a new one.

    A new one takes the means and deviations of its channels from the first two shards.

    Raises UserError if the features were made with another one.
    """
    folder, note = cache / "codec", cache / "features" / "encoder.json"
    if folder.exists():
        codec = FeatureCodec.from_pretrained(folder)
    elif shipped is not None:
        codec = FeatureCodec.from_pretrained(shipped)
        codec.save_pretrained(folder)
    else:
        codec = FeatureCodec()
        codec.encoder.load_state_dict(encoder().state_dict())
        pictures = [pixels for number in (0, 1) for _, pixels in read_shard(cache / "shards" / f"{number:03d}.tar")]
        fit(codec, as_pixels(pictures))
        codec.save_pretrained(folder)
    codec = codec.requires_grad_(False).eval()
    if not note.exists():
        # the processes of a training open the codec at the same time
        with atomic_write(note, part=f"{note.name}.{os.getpid()}") as part:
            part.write_text(json.dumps({"fingerprint": fingerprint(codec)}))
    elif json.loads(note.read_text())["fingerprint"] != fingerprint(codec):
        raise UserError(
            f"the features in {note.parent} were made by another encoder", fix="delete the folder, and make them anew"
        )
    return codec


def quantised(features: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> np.ndarray:
    scaled = (features - mean[:, None, None]) / deviation[:, None, None] * SCALE
    return scaled.round().clamp(-127, 127).to(torch.int8).cpu().numpy()


def cache_features(cache: Path, codec: FeatureCodec, part: int, of: int) -> None:
    """Make the features of the shards that have none."""
    for shard in sorted((cache / "shards").glob("*.tar"))[part::of]:
        base = cache / "features" / shard.stem
        if base.with_suffix(".json").exists():
            continue
        records, pictures = zip(*read_shard(shard), strict=True)
        fine, coarse = [], []
        with torch.inference_mode():
            for batch in as_pixels(list(pictures)).split(BATCH):
                a, b = codec.features(batch.to(codec.mean.device))
                fine.append(quantised(a, codec.mean[: CHANNELS[0]], codec.deviation[: CHANNELS[0]]))
                coarse.append(quantised(b, codec.mean[CHANNELS[0] :], codec.deviation[CHANNELS[0] :]))
        np.save(base.with_suffix(".fine.npy"), np.concatenate(fine))
        np.save(base.with_suffix(".coarse.npy"), np.concatenate(coarse))
        base.with_suffix(".partial").write_text(json.dumps(records))
        os.replace(base.with_suffix(".partial"), base.with_suffix(".json"))
        print(f"{shard.name}: {len(records)} pictures", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--codec", type=Path, help="use this one: checkpoints/photo/vae, for train --weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", default="0/1", help="K/N: this process makes every Nth shard, from the Kth")
    args = parser.parse_args()
    part, of = (int(number) for number in args.part.split("/"))
    cache_features(args.cache, open_codec(args.cache, args.codec).to(args.device), part, of)
