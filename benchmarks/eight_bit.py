"""How far maps change if a recording is kept in 8 bits: python benchmarks/eight_bit.py [--images N]

The shipped scenes are read by `mini` and the shipped photographs by `photo`, with all classes of the dataset as words.
"""

from __future__ import annotations

import argparse

import torch

from ca_seg import load_backbone
from ca_seg.data.catalogue import open_dataset
from ca_seg.vocabulary import Vocabulary


@torch.no_grad()
def measure(name: str, dataset: str, images: int) -> tuple[float, float, float]:
    """Share of tokens with the same class, mean and largest difference of a probability."""
    backbone, data = load_backbone(name), open_dataset(dataset)
    words = Vocabulary.from_names(data.class_list.names)
    same, apart, largest = [], [], 0.0
    for index in range(min(images, len(data))):
        recording = backbone.record(data[index]["image"])
        maps, small = (r.ask(words).maps(space=backbone.card.space) for r in (recording, recording.eight_bit()))
        same.append((maps.argmax(1) == small.argmax(1)).float().mean())
        apart.append((maps - small).abs().mean())
        largest = max(largest, float((maps - small).abs().max()))
    return float(torch.stack(same).mean()), float(torch.stack(apart).mean()), largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=26, help="of each dataset, at most")
    args = parser.parse_args()
    print("backbone  dataset      same class  mean difference  largest difference")
    for name, dataset in (("mini", "scenes"), ("photo", "photographs")):
        same, mean, largest = measure(name, dataset, args.images)
        print(f"{name:9} {dataset:12} {100 * same:9.2f} % {mean:16.6f} {largest:19.4f}", flush=True)


if __name__ == "__main__":
    main()
