"""Train a shipped backbone: `python -m recipes.mini.train --name mini` (or `mini-plain`: flow matching alone).

Images are composed on the fly from the emoji. The captions are embedded with the word table. To resume a run that was
stopped, give the same command again: it continues from the last checkpoint. `RUN/curve.csv` has the losses and scores.
`python -m recipes.mini.export` then writes the shipped files. Where the processor has AMX, `--bf16` trains about
twice as fast.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.pixel_codec import PixelCodec
from ca_seg.backbones.text.word_table import WordTable
from recipes.mini.batches import FULL, Batch, StepBatches
from recipes.mini.images import pixels
from recipes.mini.losses import LAYER_WEIGHTS, flow_loss, layer_scores, map_loss, weighted
from recipes.mini.model import fresh_transformer
from recipes.mini.monitor import monitor
from recipes.mini.scenes.compose import SceneComposer
from recipes.mini.scenes.objects import ObjectLibrary
from recipes.training import (
    descend,
    learning_rate,
    load_checkpoint,
    mean_of,
    mostly_low,
    new_optimizer,
    save_checkpoint,
    update_average,
)

CACHE = Path(__file__).parent / ".cache"
CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


def map_step(transformer, latents: torch.Tensor, batch: Batch, table: torch.Tensor, generator: np.random.Generator):
    """The candidate and the presence loss of one batch, weighted over the layers."""
    timesteps = mostly_low(generator, len(latents))
    scores = layer_scores(transformer, latents, table.expand(len(latents), -1, -1), timesteps)
    true = torch.from_numpy(np.ascontiguousarray(batch.true)).flatten(2)
    tokens = {"small": 64, "full": 256, "quilt": 64}[batch.kind]
    objects = torch.arange(len(batch.words)) < batch.objects
    best = torch.where(objects, {64: 8, 256: 14}[tokens], tokens // 5)
    parts = {layer: map_loss(s, true, best) for layer, s in scores.items()}
    candidate = weighted([(LAYER_WEIGHTS[i], c) for i, (c, _) in parts.items()])
    presence = weighted([(LAYER_WEIGHTS[i], p) for i, (_, p) in parts.items()])
    return candidate, presence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", choices=("mini", "mini-plain"), required=True)
    parser.add_argument("--run", type=Path, help="folder of checkpoints and curve (default: runs/NAME)")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument(
        "--cooldown", type=float, default=0.25, help="fraction of the steps, at the end, in which the rate falls to 0"
    )
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--flow-fraction", type=float, default=0.2, help="of mini's steps that are flow matching")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--monitor-every", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = args.run or Path("runs") / args.name
    run.mkdir(parents=True, exist_ok=True)

    composer = SceneComposer(ObjectLibrary.load(CACHE, style="3d"), height=FULL, width=FULL)
    words = list(composer.words)
    object_words, stuff_words = words[: len(words) - len(composer.stuff_words)], list(composer.stuff_words)
    word_table = WordTable.load(CHECKPOINTS / "words")
    vectors = {word: word_table.vector(word) for word in words}
    batches = StepBatches(composer, args.seed, object_words, stuff_words)

    codec_file, codec = run / "codec.pt", PixelCodec()
    if codec_file.exists():
        codec.load_state_dict(torch.load(codec_file, weights_only=True))
    else:
        rng = np.random.default_rng(args.seed)
        codec.fit(pixels(np.stack([composer.compose(rng).image for _ in range(256)])))
        torch.save(codec.state_dict(), codec_file)

    transformer = fresh_transformer(args.seed)
    optimizer = new_optimizer(transformer, args.lr)
    average = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    step, images, seconds, last = 0, 0, 0.0, run / "last.pt"
    if last.exists():
        counts = load_checkpoint(last, transformer, optimizer, average)
        step, images, seconds = counts["step"], counts["images"], counts["seconds"]
        print(f"resumed at step {step}", flush=True)

    loader = DataLoader(batches, sampler=range(step, args.steps), batch_size=None, num_workers=1, prefetch_factor=4)
    curve = (run / "curve.csv").open("a", newline="")
    writer, logged, clock = csv.writer(curve), [], time.monotonic()
    if curve.tell() == 0:
        writer.writerow(
            [
                "step",
                "images",
                "seconds",
                "lr",
                "flow",
                "candidate",
                "presence",
                "oracle_miou",
                "oracle_accuracy",
                "full_miou",
            ]
        )
    for batch in loader:
        generator = np.random.default_rng((args.seed, batch.step, 1))
        torch.manual_seed(args.seed * 1_000_003 + batch.step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(batch.step, peak=args.lr, warmup=300, steps=args.steps, cooldown=args.cooldown)
        latents = codec.encode(pixels(batch.images)).latent_dist.mean
        flow = candidate = presence = torch.tensor(float("nan"))
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            if args.name == "mini-plain" or generator.random() < args.flow_fraction:
                loss = flow = flow_loss(transformer, latents, captions(batch.captions, vectors, generator))
            else:
                table = torch.stack([vectors[word] for word in batch.words])[None]
                candidate, presence = map_step(transformer, latents, batch, table, generator)
                loss = candidate + presence
        descend(transformer, optimizer, loss)
        step, images = batch.step + 1, images + len(batch.images)
        update_average(average, transformer, step)
        logged.append([flow.item(), candidate.item(), presence.item()])
        if step % 100 == 0:
            seconds, clock = seconds + time.monotonic() - clock, time.monotonic()
            means = mean_of(logged)
            scores = ("", "", "")
            if step % args.monitor_every == 0:
                scores = monitor(transformer, average, codec, vectors, composer, args.seed + 1)
            writer.writerow([step, images, round(seconds), optimizer.param_groups[0]["lr"], *means, *scores])
            curve.flush()
            rate = images / max(seconds, 1e-9)
            print(step, images, f"{rate:.1f}/s", *(f"{m:.3f}" for m in means), *scores, flush=True)
            logged.clear()
        if step % args.save_every == 0 or step == args.steps:
            counts = {"step": step, "images": images, "seconds": seconds}
            save_checkpoint(last, transformer, optimizer, average, counts)


def captions(
    words: Sequence[Sequence[str]], vectors: dict[str, torch.Tensor], generator: np.random.Generator
) -> TextTokens:
    """The words of each image's caption in random order, padded with zeros; one image in ten has an empty caption."""
    hidden = torch.zeros(len(words), max(1, *(len(caption) for caption in words)), 384)
    pooled = torch.zeros(len(words), 384)
    for row, caption in enumerate(words):
        if caption and generator.random() >= 0.1:
            embedded = torch.stack([vectors[word] for word in generator.permutation(caption)])
            hidden[row, : len(embedded)], pooled[row] = embedded, embedded.mean(dim=0)
    return TextTokens(hidden, pooled)


if __name__ == "__main__":
    main()
