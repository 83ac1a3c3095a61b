"""Time of an epoch from the feature cache or without it: python benchmarks/feature_cache.py [--json FILE]

    computing        features of mini: 4 layers x 166 words = 664 channels of 16 x 16 tokens, batches of 8
    reading          an epoch of features (float16) and masks from the cache: 0 workers, 1 worker, with FeatureAugment
    verifying        reading each byte of the cache once
    opening          reading the headers of a cache of 20,000 small images: time and memory per image

The results are milliseconds per image, with one thread, as medians of rounds in which the runs take turns. Both wall
clock time and processor time of this process (without workers) are printed; the second depends less on other load.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from operator import truediv
from pathlib import Path

import torch
from in_turn import in_turn
from torch.utils.data import DataLoader

from ca_seg import Vocabulary, load_backbone
from ca_seg.data.batches import EpochShuffle, SizeBatchSampler
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.collate import SkipUnreadable, collate
from ca_seg.features.augment import AugmentedFeatures, FeatureAugment
from ca_seg.features.cache import FeatureCache
from ca_seg.features.cached import CachedSamples, collate_cached
from ca_seg.features.fill import fill
from ca_seg.features.stored import to_stored

MANY = 20_000


class Mini:
    """The concept-projected features of the shipped backbone."""

    name = "mini"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.backbone, self.vocabulary = load_backbone("mini"), Vocabulary.from_names(words)
        self.channels = len(self.backbone.card.layers) * len(words)

    def __call__(self, images, seeds):
        return self.backbone.record(images, seed=list(seeds)).ask(self.vocabulary).projected()

    def identity(self):
        return {"backbone": "mini", "vocabulary": list(self.vocabulary.classes)}

    def to(self, device):
        self.backbone.to(device)


def opening(folder: Path) -> dict[str, float]:
    """Microseconds and bytes per image to open a cache of many small images, in shards of 500."""
    identity = {"backbone": "none"}
    cache, small = FeatureCache(folder, identity), torch.zeros(2, 2, 2)
    for start in range(0, MANY, 500):
        cache.store({f"{i:064x}": to_stored(small, "float16", (16, 16)) for i in range(start, start + 500)})
    start = time.perf_counter()
    FeatureCache(folder, identity)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    opened = FeatureCache(folder, identity)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"opening_us": 1e6 * seconds / len(opened), "memory_bytes": size / len(opened)}


def with_processor_time(run: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
    """`run`, which also appends its processor time to `seconds`."""

    def timed() -> None:
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--rounds", type=int, default=5, help="after one warm-up round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset("scenes", None, None)
    source, count = Mini(dataset.class_list.names), len(dataset)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cache = FeatureCache(root / "cache", source.identity())
        filled = fill(cache, dataset, source, progress=False)
        samples, order = CachedSamples(dataset, cache, keys=filled.keys), EpochShuffle(count, 0)
        augmented = AugmentedFeatures(samples, FeatureAugment(), order)
        batches = SizeBatchSampler(order, 8, False, samples.size)
        images = DataLoader(SkipUnreadable(dataset), batch_sampler=batches, collate_fn=collate)

        def epoch(data, workers):
            loader = DataLoader(
                data,
                batch_sampler=batches,
                collate_fn=collate_cached,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            return lambda: sum(len(batch["image_id"]) for batch in loader)

        @torch.no_grad()
        def compute():
            for batch in images:
                source(batch["image"], [0] * len(batch["image_id"]))

        runs = {
            "computing": compute,
            "reading": epoch(samples, 0),
            "reading, 1 worker": epoch(samples, 1),
            "reading, augmented": epoch(augmented, 0),
            "verifying": lambda: FeatureCache(root / "cache", source.identity()).verify(),
        }
        cpu: dict[str, list[float]] = {name: [] for name in runs}
        times = in_turn(args.rounds, {name: with_processor_time(run, cpu[name]) for name, run in runs.items()})
        size = sum(file.stat().st_size for file in cache.folder.glob("*.safetensors"))
        wall = {name: 1000 * statistics.median(seconds) / count for name, seconds in times.items()}
        ratios = {
            f"computing / {name}": statistics.median(map(truediv, times["computing"], times[name]))
            for name in runs
            if name.startswith("reading")
        }
        many = opening(root / "many")
    processor = {name: 1000 * statistics.median(seconds[1:]) / count for name, seconds in cpu.items()}
    for name, value in wall.items():
        print(f"{name:32} {value:8.3f} ms per image, {processor[name]:8.3f} processor time")
    for name, value in ratios.items():
        print(f"{name:32} {value:8.1f}")
    print(f"{'an image on disk':32} {size / count / 2**10:8.0f} KiB")
    print(f"{'opening, headers alone':32} {many['opening_us']:8.1f} us per image, {many['memory_bytes']:.0f} bytes")
    if args.json:
        content = {"ms": wall, "cpu_ms": processor, "ratios": ratios, "bytes": size / count} | many
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
