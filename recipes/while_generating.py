"""Do the maps that a generation shows agree with those of the finished picture? `python -m recipes.while_generating`.

    prompt ──► 8 steps ──► picture ──► read as any photograph ──► mask ┐
                 └──► maps of each step ──► mask ──────────────────────┴─ share of pixels that agree

What chance gives is the agreement of the same maps with the picture of another seed. `--page docs/segment.md` writes
the table there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import ca_seg
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.generate import last_layer_of
from ca_seg.backbones.images import resize_maps
from ca_seg.backbones.loading.card import find_card
from recipes.command import run
from recipes.once import once
from recipes.page import fill, table

THINGS = ("cat", "dog", "cow", "elephant", "car", "bus", "bicycle", "chair")
SURFACES = ("grass", "sand", "snow", "road")
STEPS = 8


@torch.no_grad()
def masks(backbone: Backbone, thing: str, surface: str, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Masks [H, W], 0 for the thing: after each step of a generation and of their mean; and of the picture."""
    words, steps = [thing, surface], []
    generated = ca_seg.generate(
        backbone, f"a {thing} on {surface}", words, steps=STEPS, seed=seed, on_step=lambda _, maps: steps.append(maps)
    )
    height, width = generated.maps.shape[-2:]
    during = [resize_maps(maps.float().cpu(), height, width) for maps in steps]
    read = backbone.maps(generated.images[0], words)
    return [maps[0].argmax(dim=0) for maps in (*during, generated.maps.cpu())], read[0].cpu().argmax(dim=0)


def figures(name: str, things: Sequence[str], surfaces: Sequence[str]) -> dict[str, float]:
    """Shares of pixels over all prompts, and of the thing."""
    backbone = ca_seg.load_backbone(name, last_layer=last_layer_of(find_card(name)))
    pairs = [(thing, surface) for thing in things for surface in surfaces]
    results = [masks(backbone, thing, surface, seed=0) for thing, surface in pairs]
    others = [masks(backbone, thing, surface, seed=1)[1] for thing, surface in pairs]

    def agreement(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float:
        return float(torch.stack([(a == b).float().mean() for a, b in zip(first, second, strict=True)]).mean())

    pictures = [picture for _, picture in results]
    by_step = {
        f"after step {step + 1}": agreement([during[step] for during, _ in results], pictures) for step in range(STEPS)
    }
    return by_step | {
        "mean of the steps": agreement([during[-1] for during, _ in results], pictures),
        "picture of another seed": agreement([during[-1] for during, _ in results], others),
        "thing in the maps": float(torch.stack([(during[-1] == 0).float().mean() for during, _ in results]).mean()),
        "thing in the picture": float(torch.stack([(picture == 0).float().mean() for picture in pictures]).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="*", default=["mini", "photo"])
    parser.add_argument("--out", type=Path, default=Path("out/while_generating"))
    parser.add_argument("--page", type=Path, help="with the mark <!-- generation -->")
    args = parser.parse_args()
    shown = (
        "after step 1",
        f"after step {STEPS // 2}",
        f"after step {STEPS}",
        "mean of the steps",
        "picture of another seed",
    )
    rows = []
    for name in args.backbones:
        content = once(args.out / f"{name}.json", lambda name=name: figures(name, THINGS, SURFACES))
        rows.append([f"`{name}`", *(f"{100 * content[column]:.0f}" for column in shown)])
    text = table(["", *shown], rows)
    print(text)
    if args.page is not None:
        fill(args.page, "generation", text)


if __name__ == "__main__":
    run(main)
