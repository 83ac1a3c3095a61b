"""How well parts without words are named, and images described by words alone, on a dataset with masks.

    python -m benchmarks.part_names --backbone photo --data FOLDER --first 1 --step 8

All words that training taught are offered. A class counts as named by its own word only: "lawn" for "grass" is wrong.

1. Names of parts: over the parts of which one class has half the tokens or more, whose word was taught.
2. Words of an image: precision and recall over the words of the classes; other words do not count.
     parts        the best word of each part
     lead SHARE   words that are the most probable one at this share of the tokens or more
     presence P   words whose presence (the mean probability over 1/32 of the tokens, those where it is highest) is P
"""

from __future__ import annotations

import torch

from benchmarks.parts import opened
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.data.seeds import image_seed
from ca_seg.predictors.part_names import part_names
from ca_seg.predictors.presence import TOKENS
from ca_seg.predictors.token_clusters import token_clusters
from ca_seg.vocabulary import IGNORE_INDEX

LEADS, PRESENCES = (0.02, 0.05, 0.1), (0.05, 0.1, 0.15, 0.2)


def main() -> None:
    backbone, dataset, indices = opened(__doc__)
    assert isinstance(backbone.text, WordTableText)
    taught, classes = list(backbone.text.taught or ()), dataset.class_list.names
    known = {name for name in classes if name in taught}
    ranks: list[int] = []  # of the class's word among all words, for each part
    counts: dict[str, list[int]] = {}  # right, said, to be said
    for index in indices:
        sample = dataset[index]
        recording = backbone.record(sample["image"][None], seed=image_seed(0, sample["image_id"]))
        maps, parts = recording.ask(taught).maps()[0], token_clusters(recording)
        size = (recording.grid.height, recording.grid.width)
        truth = torch.nn.functional.interpolate(sample["mask"][None, None].float(), size)[0, 0].long()
        names = part_names(maps, parts, taught, best=len(taught))
        for part, words in enumerate(names):
            seen = torch.bincount(truth[parts == part], minlength=IGNORE_INDEX + 1)
            seen[IGNORE_INDEX] = 0
            name = classes[int(seen.argmax())] if bool(seen.sum()) else ""
            if name in known and 2 * int(seen.max()) >= int((parts == part).sum()):
                ranks.append(list(words).index(name))
        shown = {classes[i] for i in sample["mask"].unique().tolist() if i != IGNORE_INDEX} & known
        leading = torch.bincount(maps.argmax(0).flatten(), minlength=len(taught)) / parts.numel()
        presence = maps.flatten(1).topk(max(1, parts.numel() // TOKENS), dim=1).values.mean(1)
        said = {"parts": [next(iter(words)) for words in names]}
        said |= {f"lead {share}": _where(leading >= share, taught) for share in LEADS}
        said |= {f"presence {level}": _where(presence >= level, taught) for level in PRESENCES}
        for way, words in said.items():
            right = len(shown & set(words))
            before = counts.get(way, [0, 0, 0])
            counts[way] = [a + b for a, b in zip(before, (right, len(known & set(words)), len(shown)), strict=True)]
    rank = torch.tensor(ranks)
    best, among = float((rank == 0).float().mean()), float((rank < 5).float().mean())
    print(f"{len(indices)} images, {len(taught)} words, {len(known)} classes")
    print(
        f"{len(ranks)} parts: the class's word is the best for {100 * best:.0f} %, one of five for {100 * among:.0f} %"
    )
    for way, (right, said_words, shown_words) in counts.items():
        precision, recall = right / max(1, said_words), right / max(1, shown_words)
        print(f"{way:14} precision {precision:.2f}  recall {recall:.2f}")


def _where(chosen: torch.Tensor, words: list[str]) -> list[str]:
    return [words[i] for i in chosen.nonzero()[:, 0].tolist()]


if __name__ == "__main__":
    main()
