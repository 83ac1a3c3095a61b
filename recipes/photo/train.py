"""Train a backbone for photographs: `python -m recipes.photo.train --name photo` (or `photo-words`: no segmenters).

It reads the features that `recipes.photo.cache` made. A run that was stopped goes on with the same command, on a CPU or
on a GPU: the checkpoint is the same. `--minutes 9` stops early, with a checkpoint. On a CPU two processes of one thread
are faster than one of two: `torchrun --nproc-per-node 2 -m recipes.photo.train --name photo --threads 1`.

    OUT/last.pt       weights, optimizer, averaged weights, pictures seen
    OUT/curve.csv     losses, and mIoU on pictures that are held back
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import FluxTransformer2DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from ca_seg.backbones.feature_codec import FeatureCodec
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import UserError
from recipes.command import run
from recipes.photo.batches import PARTS, Batch, Hard, Soft, StepBatches
from recipes.photo.cache import fingerprint, open_codec
from recipes.photo.data import FeatureCache
from recipes.photo.fetch import CACHE
from recipes.photo.losses import flow_loss, layer_scores, map_losses, prompt_of
from recipes.photo.model import fresh_transformer
from recipes.photo.monitor import monitor
from recipes.photo.words import Lexicon
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

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
WORDS, CODEC = CHECKPOINTS / "words", CHECKPOINTS / "photo" / "vae"
NAMES = ("photo", "photo-words")
OPTIMIZERS = ("muon", "adamw")
LOSSES = ("flow", "classes", "masks", "words")
COLUMNS = ("step", "pictures", "seconds", "lr", *LOSSES, "oracle_miou", "full_miou")


def moved(target: Soft | Hard, device: str) -> Soft | Hard:
    return type(target)(*(tensor.to(device) for tensor in vars(target).values()))


def step_loss(
    transformer: torch.nn.Module,
    batch: Batch,
    table: torch.Tensor,
    generator: np.random.Generator,
    device: str,
    flow_fraction: float,
) -> tuple[str, torch.Tensor]:
    """The kind of this step's loss, and the loss."""
    latents, table, target = batch.latents.to(device), table.to(device), moved(batch.target, device)
    if generator.random() < flow_fraction:
        return "flow", flow_loss(transformer, latents, prompt_of(target, table, len(latents)))
    times = mostly_low(generator, len(latents), usual=0.3, highest=0.9)
    scores = layer_scores(transformer, latents, table, times.to(device))
    return batch.kind, map_losses(scores, target, latents.shape[-2:])


def check_codec(cache: Path) -> None:
    """Raises UserError if the features in `cache` are not those that the shipped weights read."""
    if fingerprint(FeatureCodec.from_pretrained(CODEC)) != fingerprint(open_codec(cache)):
        raise UserError(
            f"the features in {cache} were made by another codec than the one of the shipped weights",
            fix=f"delete its folders features and codec, then: python -m recipes.photo.cache --codec {CODEC}",
        )


@dataclass
class Progress:
    """How far a run is. `batches` numbers the next batch, `seconds` is time spent in training."""

    step: int = 0
    batches: int = 0
    pictures: int = 0
    seconds: float = 0.0


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", choices=NAMES, required=True)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, help="folder of checkpoints and curve (default: runs/NAME)")
    parser.add_argument("--weights", type=Path, help="begin with these weights: checkpoints/photo/transformer")
    parser.add_argument("--heads", type=int, default=4, help="of 64 channels each, where the weights are random")
    parser.add_argument("--pictures", type=int, default=200_000, help="how many to see in the whole run")
    parser.add_argument("--rows", type=int, default=4, help="size of a process's batch, in grids of 20 x 20 tokens")
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after so many")
    parser.add_argument("--cooldown", type=float, default=0.45, help="fraction of the run in which the rate falls to 0")
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="muon", help="of the matrices inside the blocks")
    parser.add_argument("--flow-fraction", type=float, default=0.06, help="of the steps that are flow matching")
    parser.add_argument("--without", nargs="+", choices=PARTS, default=[], help="parts to leave out")
    parser.add_argument("--held-out", nargs="+", default=[], help="words that are neither asked nor taught")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--monitor-every", type=int, default=500)
    return parser


def main() -> None:
    args = command_line().parse_args()
    torch.set_num_threads(args.threads)
    rank, processes = start_processes()
    run = args.out or Path("runs") / args.name
    run.mkdir(parents=True, exist_ok=True)

    table = WordTable.load(WORDS)
    lexicon = Lexicon(table)
    cache = FeatureCache(args.cache, lexicon, teachers=args.name == "photo")
    batches = StepBatches(
        cache,
        lexicon,
        table,
        open_codec(args.cache),
        seed=args.seed,
        rows=args.rows,
        without=frozenset(args.without),
        held_out=frozenset(table.tokens(word)[0] for word in args.held_out),
    )
    if rank == 0:
        print(
            {kind: len(pool) for kind, pool in batches.pools.items()}, f"{len(batches.label_words)} words", flush=True
        )
    vectors = {word: table.vector(word) for word in table.words}

    if args.weights is None:
        transformer = fresh_transformer(args.seed, args.heads)
    else:
        check_codec(args.cache)
        transformer = FluxTransformer2DModel.from_pretrained(args.weights, torch_dtype=torch.float32)
    transformer = transformer.train().to(args.device)
    optimizer = new_optimizer(transformer, args.lr, muon=args.optimizer == "muon")
    average = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    progress, last = Progress(), run / "last.pt"
    if last.exists():
        progress = Progress(**load_checkpoint(last, transformer, optimizer, average)["progress"])
        print(f"resumed at step {progress.step}", flush=True)

    numbers = itertools.count(progress.batches + rank, processes)
    loader = DataLoader(batches, sampler=numbers, batch_size=None, num_workers=args.workers)
    curve = (run / "curve.csv").open("a", newline="") if rank == 0 else io.StringIO()
    writer, logged = csv.writer(curve), []
    if curve.tell() == 0:
        writer.writerow(COLUMNS)
    begun = clock = time.monotonic()
    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    backends = [SDPBackend.MATH] if args.device == "cpu" else fused
    device_type = torch.device(args.device).type
    for batch in loader:
        generator = np.random.default_rng((args.seed, progress.batches + rank, 1))
        torch.manual_seed(args.seed * 1_000_003 + progress.batches + rank)
        rate = learning_rate(progress.pictures, peak=args.lr, warmup=8000, steps=args.pictures, cooldown=args.cooldown)
        for group in optimizer.param_groups:
            group["lr"] = rate
        words = torch.stack([vectors[word] for word in batch.words])
        with sdpa_kernel(backends), torch.autocast(device_type, torch.bfloat16, enabled=args.bf16):
            kind, loss = step_loss(transformer, batch, words, generator, args.device, args.flow_fraction)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the {kind} loss of step {progress.step} is {loss.item()}; {last} is from before it"
            )
        descend(transformer, optimizer, loss)
        late = args.minutes is not None and time.monotonic() - begun > args.minutes * 60
        [seen] = sum_over_processes([torch.tensor([batch.pictures, float(late)])])
        progress.pictures += int(seen[0])
        progress.step, progress.batches = progress.step + 1, progress.batches + processes
        over = bool(seen[1]) or progress.pictures >= args.pictures
        step = progress.step
        update_average(average, transformer, step)
        logged.append([loss.item() if kind == name else float("nan") for name in LOSSES])
        if step % 100 == 0:
            progress.seconds, clock = progress.seconds + time.monotonic() - clock, time.monotonic()
            if rank == 0:
                scores = ("", "")
                if step % args.monitor_every == 0:
                    scores = monitor(transformer, average, cache, vectors)
                writer.writerow([step, progress.pictures, round(progress.seconds), rate, *mean_of(logged), *scores])
                curve.flush()
                speed = progress.pictures / progress.seconds
                print(step, progress.pictures, f"{speed:.1f}/s", f"{rate:.1e}", *mean_of(logged), *scores, flush=True)
            if dist.is_initialized():
                dist.barrier()
            clock = time.monotonic()
            logged.clear()
        if rank == 0 and (step % args.save_every == 0 or over):
            save_checkpoint(last, transformer, optimizer, average, {"progress": asdict(progress)})
        if over:
            break


if __name__ == "__main__":
    run(main)
