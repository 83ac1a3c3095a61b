"""Second stage of `mini`: labels that it made itself, on a finer grid (`python -m recipes.mini.self_train`).

    p[word, token] = softmax over the words of <concept output, image output>     (the map itself)

    loss   -log of p, enlarged bilinearly as in use, at the word of each labelled pixel

The loss is on pixels and not on tokens, so that p learns where an edge runs inside of a token.
`recipes.mini.self_labels` makes the labels from captions; no drawn mask is read. One step in ten is flow matching. A
run that was stopped goes on with the same command; `--minutes 9` stops early, with a checkpoint. On a CPU two processes
of one thread are faster than one of two: `torchrun --nproc-per-node 2 -m recipes.mini.self_train --threads 1`.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ca_seg.backbones.pixel_codec import PixelCodec
from ca_seg.backbones.text.word_table import WordTable
from recipes.mini.curve import join_curves
from recipes.mini.losses import LAYER_WEIGHTS, flow_loss, layer_scores, weighted
from recipes.mini.monitor import monitor
from recipes.mini.scenes.compose import SceneComposer
from recipes.mini.scenes.objects import ObjectLibrary
from recipes.mini.self_batches import LabelledBatch, LabelledScenes, SelfBatches
from recipes.mini.train import CACHE, CHECKPOINTS, captions
from recipes.processes import start_processes, sum_over_processes
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

SIDE = 256  # pixels at which scenes are read in use
AVERAGING = 0.998
COLUMNS = ("step", "images", "seconds", "lr", "flow", "labels", "oracle_miou", "oracle_accuracy", "full_miou")


@dataclass
class Progress:
    """How far a run is. `seconds` is time spent in training."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0


def corners(grid: int, side: int) -> tuple[Tensor, Tensor]:
    """The tokens around each pixel and their shares, where a map is enlarged bilinearly: two tensors [4, S * S].

    Args:
        grid: tokens along a side of the map
        side: S, pixels along a side of the enlarged map
    """
    place = ((torch.arange(side) + 0.5) * grid / side - 0.5).clamp_min(0)
    first = place.long()
    second, share = (first + 1).clamp_max(grid - 1), place - first
    tokens = [row[:, None] * grid + column[None] for row in (first, second) for column in (first, second)]
    weights = [row[:, None] * column[None] for row in (1 - share, share) for column in (1 - share, share)]
    return torch.stack(tokens).flatten(1), torch.stack(weights).flatten(1)


def label_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """-log of one layer's map at the word of each labelled pixel, a weighted mean.

    A word of a view has the weight of its area in tokens to the power of -1/4, so that small objects count for more
    than their pixels: mIoU counts every class alike.

    Args:
        scores: [B, C, N], before the softmax
        labels: long [B, S, S], index of the word, -1 = unsure
    """
    batch, concepts, tokens = scores.shape
    around, shares = corners(round(tokens**0.5), labels.shape[-1])
    pixels = labels.flatten(1)
    known = pixels >= 0
    rows = pixels.clamp_min(0)
    p = scores.softmax(dim=1).flatten(1)
    likely = sum(share * p.gather(1, rows * tokens + token) for token, share in zip(around, shares, strict=True))
    area = torch.zeros(batch, concepts).scatter_add(1, rows, known.float()) * tokens / pixels.shape[1]
    weight = area.clamp_min(1).pow(-0.25).gather(1, rows) * known
    return -(weight * likely.clamp_min(1e-6).log()).sum() / weight.sum().clamp_min(1)


def step_loss(
    transformer: torch.nn.Module, latents: Tensor, batch: LabelledBatch, table: Tensor, generator: np.random.Generator
) -> Tensor:
    """The losses of all layers, at timesteps that are mostly low.

    Args:
        table: vectors of all words [C, 384]
    """
    concepts = table[batch.words].expand(len(latents), -1, -1)
    scores = layer_scores(transformer, latents, concepts, mostly_low(generator, len(latents)))
    return weighted([(LAYER_WEIGHTS[layer], label_loss(s, batch.labels)) for layer, s in scores.items()])


def begin(out: Path, weights: Path, after: Path | None, codec: PixelCodec) -> None:
    """Write what the export needs of the time before: the curve and the autoencoder."""
    if after is None:
        shutil.copyfile(weights / "curve.csv", out / "before.csv")
    else:
        join_curves(after / "before.csv", after / "curve.csv", out / "before.csv")
    torch.save(codec.state_dict(), out / "codec.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=CHECKPOINTS / "mini", help="folder of transformer and vae")
    parser.add_argument("--after", type=Path, help="folder of a finished run; begin with its averaged weights")
    parser.add_argument("--labels", type=Path, default=Path("runs/mini/labels"))
    parser.add_argument("--out", type=Path, default=Path("runs/mini-self"), help="folder of checkpoints and curve")
    parser.add_argument("--images", type=int, default=73_000, help="how many to see in the whole run")
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after so many")
    parser.add_argument("--cooldown", type=float, default=0.7, help="fraction of the run in which the rate falls to 0")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--flow-fraction", type=float, default=0.1, help="of the steps that are flow matching")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--monitor-every", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rank, processes = start_processes()
    args.out.mkdir(parents=True, exist_ok=True)

    composer = SceneComposer(ObjectLibrary.load(CACHE, style="3d"))
    words, table = composer.words, WordTable.load(CHECKPOINTS / "words")
    vectors = {word: table.vector(word) for word in words}
    stacked = torch.stack(list(vectors.values()))
    batches = SelfBatches(LabelledScenes(args.labels), args.seed, words, processes=processes)
    codec = PixelCodec.from_pretrained(args.weights / "vae")
    transformer = FluxTransformer2DModel.from_pretrained(
        args.weights / "transformer", torch_dtype=torch.float32
    ).train()
    progress, last = Progress(), args.out / "last.pt"
    if args.after is not None and not last.exists():
        transformer.load_state_dict(torch.load(args.after / "last.pt", weights_only=True)["average"])
    optimizer = new_optimizer(transformer, args.lr)
    average = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    if last.exists():
        progress = Progress(**load_checkpoint(last, transformer, optimizer, average)["progress"])
        print(f"resumed at step {progress.step}", flush=True)
    elif rank == 0:
        begin(args.out, args.weights, args.after, codec)
    curve = (args.out / "curve.csv").open("a", newline="") if rank == 0 else io.StringIO()
    writer, logged = csv.writer(curve), []
    if curve.tell() == 0:
        writer.writerow(COLUMNS)
    begun = clock = time.monotonic()
    over = False
    while not over:
        number = progress.step * processes + rank
        batch = batches[number]
        generator = np.random.default_rng((args.seed, number, 1))
        torch.manual_seed(args.seed * 1_000_003 + number)
        rate = learning_rate(progress.images, peak=args.lr, warmup=1500, steps=args.images, cooldown=args.cooldown)
        for group in optimizer.param_groups:
            group["lr"] = rate
        latents = codec.encode(batch.images).latent_dist.mean
        flow = labels = torch.tensor(float("nan"))
        with sdpa_kernel([SDPBackend.MATH]):
            if np.random.default_rng((args.seed, progress.step, 3)).random() < args.flow_fraction:
                loss = flow = flow_loss(transformer, latents, captions(batch.captions, vectors, generator))
            else:
                loss = labels = step_loss(transformer, latents, batch, stacked, generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {progress.step} is {loss.item()}; {last} is from before it")
        descend(transformer, optimizer, loss)
        late = args.minutes is not None and time.monotonic() - begun > args.minutes * 60
        [seen] = sum_over_processes([torch.tensor([len(batch.images), float(late)])])
        progress.images, progress.step = progress.images + int(seen[0]), progress.step + 1
        step, over = progress.step, bool(seen[1]) or progress.images >= args.images
        update_average(average, transformer, step, decay=AVERAGING)
        logged.append([flow.item(), labels.item()])
        if step % 50 == 0 or over:
            progress.seconds += time.monotonic() - clock
            if rank == 0:
                scores = ("", "", "")
                if step % args.monitor_every == 0 or over:
                    scores = monitor(transformer, average, codec, vectors, composer, args.seed + 1, side=SIDE)
                writer.writerow([step, progress.images, round(progress.seconds), rate, *mean_of(logged), *scores])
                curve.flush()
                speed = progress.images / progress.seconds
                print(step, progress.images, f"{speed:.1f}/s", f"{rate:.1e}", *mean_of(logged), *scores, flush=True)
            if dist.is_initialized():
                dist.barrier()
            clock = time.monotonic()
            logged.clear()
        if rank == 0 and (step % args.save_every == 0 or over):
            save_checkpoint(last, transformer, optimizer, average, {"progress": asdict(progress)})


if __name__ == "__main__":
    main()
