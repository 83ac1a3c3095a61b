"""Write the shipped files of a trained run: `python -m recipes.mini.export --name mini [--run runs/mini]`.

A run of `recipes.mini.self_train` is exported in the same way. Its curve then follows that of the run it went on from.

checkpoints/NAME/transformer/   config.json, diffusion_pytorch_model.safetensors (averaged weights, float16)
checkpoints/NAME/vae/           the linear autoencoder
checkpoints/NAME/taught.txt     the words that training taught
checkpoints/NAME/curve.csv, curve.png
ca_seg/backbones/loading/cards/NAME.yaml    checksums, parameters and training data are filled in
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import FluxTransformer2DModel

from ca_seg.backbones.pixel_codec import PixelCodec
from recipes.mini.curve import draw_curve, join_curves
from recipes.mini.losses import LAYER_WEIGHTS
from recipes.mini.model import ARCHITECTURE
from recipes.mini.scenes.taught import taught_words

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "ca_seg" / "backbones" / "loading" / "cards"
FILES = (
    *(
        f"{part}/{file}"
        for part in ("transformer", "vae")
        for file in ("config.json", "diffusion_pytorch_model.safetensors")
    ),
    "taught.txt",
)
OBJECTIVES = {
    "mini": "flow matching on a fifth of the steps; on the others a loss on the maps of double blocks "
    f"{min(LAYER_WEIGHTS)} to {max(LAYER_WEIGHTS)} that knows only the caption (which words are true of the image); "
    "then self-training on enlarged scenes: a loss on labels that it made itself from captions, refined by PAMR. "
    "The losses train the maps directly: use mini-plain to study the method itself",
    "mini-plain": "flow matching alone (velocity, logit-normal timesteps); no loss on the maps",
}
HARDWARE = {
    "mini": "one CPU core with AVX512-BF16, bfloat16 autocast; self-training: two cores, fp32",
    "mini-plain": "one CPU core with AVX512-BF16, bfloat16 autocast",
}


def export(name: str, run: Path) -> None:
    """Write the weights, the curve and the card of backbone `name` from the folder of its training run."""
    state = torch.load(run / "last.pt", weights_only=True)
    target = ROOT / "checkpoints" / name
    transformer = FluxTransformer2DModel(**ARCHITECTURE)
    transformer.load_state_dict(state["average"])
    transformer.half().save_pretrained(target / "transformer", safe_serialization=True)
    codec = PixelCodec()
    codec.load_state_dict(torch.load(run / "codec.pt", weights_only=True))
    codec.save_pretrained(target / "vae", safe_serialization=True)
    curve, before = run / "curve.csv", run / "before.csv"
    if before.exists():
        join_curves(before, curve, target / "curve.csv")
    else:
        shutil.copyfile(curve, target / "curve.csv")
    draw_curve(target / "curve.csv", target / "curve.png")
    (target / "taught.txt").write_text("\n".join(taught_words()) + "\n", encoding="utf-8")
    with (target / "curve.csv").open(encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    trained = {
        "data": "scenes composed on the fly of 150 Fluent emoji words (Microsoft, MIT) over 16 kinds of generated "
        "stuff, with captions; masks are never seen",
        "objective": OBJECTIVES[name],
        "words": "150 objects and 16 kinds of stuff (taught.txt)",
        "steps": int(last["step"]),
        "images": int(last["images"]),
        "seconds": int(last["seconds"]),
        "hardware": HARDWARE[name],
    }
    write_card(name, transformer, trained)


def write_card(name: str, transformer: FluxTransformer2DModel, trained: Mapping[str, Any]) -> None:
    """Fill checksums, parameters, taught words and training into the card of the files in checkpoints/NAME."""
    target, card_file = ROOT / "checkpoints" / name, CARDS / f"{name}.yaml"
    card = yaml.safe_load(card_file.read_text(encoding="utf-8"))
    shared = card.get("autoencoder_of", "")
    files = (f"../{shared}/{f}" if shared and f.startswith("vae/") else f for f in FILES)
    card["checksums"] = {f: hashlib.sha256((target / f).read_bytes()).hexdigest() for f in files}
    card["taught_words"] = f"{name}/taught.txt"
    card.pop("presence", None)  # measured for other weights: `python -m recipes.presence` measures it anew
    card["parameters"] = sum(p.numel() for p in transformer.parameters())
    card["trained"] = dict(trained)
    card_file.write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
    print(f"{target}: {sum(f.stat().st_size for f in target.rglob('*') if f.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", choices=tuple(OBJECTIVES), required=True)
    parser.add_argument("--run", type=Path)
    args = parser.parse_args()
    export(args.name, args.run or Path("runs") / args.name)
