"""What an edit changes, and where: python benchmarks/edit.py [--json FILE] [--scenes 4] [--steps 6]

In each shipped scene the largest object is replaced by another one, with `mini`, in three ways:

    pasted      blended latents, and the photograph's own pixels outside the mask: what `ca-seg edit` does
    blended     blended latents alone: what is outside went through the autoencoder
    img2img     no mask: the whole picture from the noised photograph (strength 0.6)

Outside and inside the (grown) mask, against the picture before the edit:

    psnr        dB, over the pixels of all scenes; null: not a byte differs
    features    distance of features of EfficientNet-Lite0, as LPIPS (Zhang et al. 2018, equation 1) with all weights 1
    new_word    share of the tokens inside at which mini finds the new word, the old one and the ground being asked too;
                `before` is the same share in the picture before the edit

The mask is that of the words, not the ground truth. --picture FILE draws the examples of docs/edit.md.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch.nn.functional import interpolate, normalize

import ca_seg
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.feature_codec import FeatureCodec
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.inputs import NamedImage
from ca_seg.editing.inpainting import Painting, paint
from ca_seg.editing.region import Region
from ca_seg.jobs.edit import Editor
from ca_seg.jobs.edit_settings import EditSettings
from ca_seg.resources import resource_path
from ca_seg.visual.overlay import overlay
from ca_seg.vocabulary import IGNORE_INDEX

STRENGTH, GROUND = 0.6, ("grass", "water", "sand", "snow", "road", "soil", "wood", "brick", "tile")
OBJECTS = ("apple", "dog", "tree", "car")  # what is painted, in turn
WAYS = ("pasted", "blended", "img2img")


@dataclass
class Sums:
    """What is summed over scenes, outside or inside the masks."""

    squares: float = 0.0
    values: int = 0
    distance: float = 0.0
    tokens: int = 0

    def add(self, before: torch.Tensor, after: torch.Tensor, distance: torch.Tensor, where: np.ndarray) -> None:
        """Pictures [3, H, W] in 0..1, the distance of their features [h, w], and bool [H, W]."""
        pixels = torch.from_numpy(where)
        self.squares += float(((before - after)[:, pixels] ** 2).sum())
        self.values += 3 * int(pixels.sum())
        tokens = interpolate(pixels[None, None].float(), distance.shape, mode="area")[0, 0] > 0.99
        self.distance += float(distance[tokens].sum())
        self.tokens += int(tokens.sum())

    def figures(self) -> dict[str, float | None]:
        psnr = None if self.squares == 0 else -10 * math.log10(self.squares / self.values)
        return {"psnr": psnr, "features": self.distance / self.tokens}


@dataclass
class Way:
    """One way of editing, over all scenes."""

    outside: Sums = field(default_factory=Sums)
    inside: Sums = field(default_factory=Sums)
    new_word: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        share = sum(self.new_word) / len(self.new_word)
        return {"outside": self.outside.figures(), "inside": self.inside.figures(), "new_word": share}


@torch.no_grad()
def feature_distance(codec: FeatureCodec, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """[h, w]: the squared distance of features of unit length, mean of two layers, of pictures [3, H, W]."""
    pictures = 2 * interpolate(torch.stack([before, after]), scale_factor=2, mode="bilinear") - 1
    layers = [normalize(layer, dim=1) for layer in codec.features(pictures)]
    size = layers[0].shape[-2:]
    distances = [((a - b) ** 2).sum(dim=0)[None, None] for a, b in layers]
    return torch.stack([interpolate(d, size, mode="bilinear")[0, 0] for d in distances]).mean(dim=0)


def new_word_share(mini: Backbone, picture: torch.Tensor, words: list[str], region: Region) -> float:
    """The share of the region's tokens at which the first of the words wins."""
    maps = mini.record(picture[None]).ask(words).maps()[0]
    return float((maps.argmax(dim=0)[torch.from_numpy(region.in_size(*maps.shape[-2:]))] == 0).float().mean())


def measure(scenes: int, steps: int) -> dict[str, object]:
    """The figures of all ways, over the first scenes whose largest object mini finds."""
    mini, codec = ca_seg.load_backbone("mini"), ca_seg.load_backbone("photo").autoencoder
    data = open_dataset("scenes", split="in_distribution")
    ways, before, used = {name: Way() for name in WAYS}, [], 0
    for index in range(len(data)):
        if used == scenes:
            break
        sample = data[index]
        counts = np.bincount(sample["mask"].numpy().ravel(), minlength=IGNORE_INDEX + 1)
        names = data.class_list.names
        objects = [number for number, name in enumerate(names) if counts[number] and name not in GROUND]
        if not objects:
            continue
        old = names[max(objects, key=counts.__getitem__)]
        others = [name for name in OBJECTS if name != old]
        new = others[used % len(others)]
        settings = EditSettings(backbone="mini", replace=(old,), by=new, background=GROUND, mask_only=True)
        image = NamedImage(sample["image_id"], None, lambda sample=sample: sample["image"])
        try:
            region = Editor(settings, backbone=mini)(image).region
        except ca_seg.UserError:
            continue  # mini does not find the object
        picture = sample["image"]
        inside, everywhere = region.inside, Region(np.ones_like(region.inside))
        blended = _tensor(paint(mini, picture, region, Painting(new, steps=steps)), picture)
        pasted = torch.from_numpy(region.paste(_bytes(picture), _bytes(blended))).permute(2, 0, 1) / 255
        img2img = _tensor(paint(mini, picture, everywhere, Painting(new, STRENGTH, steps)), picture)
        words = [new, old, *GROUND]
        before.append(new_word_share(mini, picture, words, region))
        for name, after in zip(WAYS, (pasted, blended, img2img), strict=True):
            distance = feature_distance(codec, picture, after)
            ways[name].outside.add(picture, after, distance, ~inside)
            ways[name].inside.add(picture, after, distance, inside)
            ways[name].new_word.append(new_word_share(mini, after, words, region))
        used += 1
    figures: dict[str, object] = {name: way.figures() for name, way in ways.items()}
    return {"scenes": used, "steps": steps, "before": sum(before) / len(before)} | figures


def _bytes(picture: torch.Tensor) -> np.ndarray:
    return (255 * picture).round().byte().permute(1, 2, 0).numpy()


def _tensor(picture: Image.Image, like: torch.Tensor) -> torch.Tensor:
    """A painted picture as [3, H, W] in 0..1, at the size of the picture `like`, as `edit` brings it there."""
    height, width = like.shape[-2:]
    painted = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(painted)).permute(2, 0, 1) / 255


EXAMPLES = (  # backbone, picture, words, what replaces them, their colour, background words
    ("mini", "scenes/images/scene_0000.png", "sailboat", "apple", "red", ("wood", "grass", "water")),
    ("photo", "photographs/images/000000000471.jpg", "bus", "car", "red", ("road", "sky", "tree", "building")),
)


def draw(file: Path, steps: int) -> None:
    """One row for each example: the picture, its mask, and the four edits."""
    side, margin = 200, 18
    canvas = Image.new("RGB", (6 * side, (side + margin) * len(EXAMPLES)), "white")
    pen = ImageDraw.Draw(canvas)
    for row, (name, path, word, new, colour, background) in enumerate(EXAMPLES):
        photograph = resource_path("datasets", *path.split("/"))
        backbone = ca_seg.load_backbone(name)
        common = {"backbone": backbone, "background": background}
        few = EditSettings(steps=steps)
        removed = ca_seg.edit(photograph, few, remove=word, **common)
        replaced = ca_seg.edit(photograph, few, replace=word, by=new, **common)
        recolored = ca_seg.edit(photograph, recolor=word, by=colour, **common)
        kept = ca_seg.edit(photograph, keep=word, **common)
        texts = (name, word, f"remove: {removed.prompt}", f"replace by {new}", f"recolor {colour}", f"keep {word}")
        mask = overlay(removed.photograph, np.where(removed.mask, 0, IGNORE_INDEX), [word], legend=False)
        edits = (removed.image, replaced.image, recolored.image, kept.image)
        pictures = (Image.fromarray(removed.photograph), mask, *edits)
        for column, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
            left, top = column * side, row * (side + margin)
            canvas.paste(ImageOps.contain(picture, (side, side)), (left, top + margin))
            pen.text((left + 3, top + 3), text, fill=(20, 20, 20))
    canvas.save(file, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    if arguments.picture:
        draw(arguments.picture, arguments.steps)
        return
    figures = measure(arguments.scenes, arguments.steps)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
