"""One training step's tokens and targets: how pictures are laid out (layout.py), and three kinds of target.

classes   the frozen classifier's share of each word at each position, over words that do not hold each other
masks     the votes of segmenters and detectors, averaged over a quarter of a token, beside words that are not in
          the picture
words     which words are true of the picture or quarter, or of a box in it: candidate and presence loss, as in
          recipes/mini
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

from ca_seg.backbones.efficientnet_lite import CHANNELS
from ca_seg.backbones.feature_codec import FeatureCodec, on_one_grid
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.features.efficientnet import EfficientNetLite0
from recipes.photo.cache import SCALE
from recipes.photo.data import Example, FeatureCache
from recipes.photo.encoder import class_probabilities
from recipes.photo.labels import TEACHER_WORDS
from recipes.photo.layout import HALF, Cut, quilt
from recipes.photo.pictures import TOKENS
from recipes.photo.targets import (
    CELLS,
    MOST_IMPORTANT,
    cell_shares,
    cell_weights,
    chances,
    importances,
    merge_alike,
    where,
)
from recipes.photo.words import STUFF, Lexicon, membership, near

LAYOUTS = ("quilt of wholes", "quilt of crops", "fine", "coarse")
QUILTED = {"classes": (0.1, 0.1, 0.65, 0.15), "masks": (0.05, 0.15, 0.7, 0.1), "words": (0.25, 0.2, 0.45, 0.1)}
KINDS = {"classes": 0.25, "masks": 0.45, "words": 0.3}  # how often each is a step's
# what a training can do without: a kind of target, quilts, cells finer than tokens, weights of small and rare words
PARTS = (*KINDS, "quilts", "cells", "weights")
COARSE_ROWS = 3  # rows of 10 x 10 tokens for one of 20 x 20
WORDS = 64  # asked at each step
SURE, DOUBTFUL = 0.4, 0.1  # the classifier's share of a picture's word at which a position is, or may be, that word


@dataclass(frozen=True)
class Soft:
    """Targets that are shares of the words, on 2 x 2 cells for every token: classes and masks."""

    shares: torch.Tensor  # [P, C, H, W] of each picture, not yet side by side; sums to 1 where weight is not 0
    weight: torch.Tensor  # [P, H, W]


@dataclass(frozen=True)
class Hard:
    """Targets that are words of the whole picture or quarter."""

    true: torch.Tensor  # bool [B, C, N]
    unasked: torch.Tensor  # bool [B, C, N]: may be true of it, so it is no negative there
    best: torch.Tensor  # [C], tokens that a word takes at least


@dataclass(frozen=True)
class Batch:
    kind: str
    pictures: int
    latents: torch.Tensor  # float [B, 432, h, w], unit variance
    words: list[str]  # C concepts
    target: Soft | Hard


class StepBatches:
    """Batches by number; a batch depends on the seed and its number alone.

    Args:
        cache: features and examples
        lexicon: WordNet beside the word table
        table: the word table
        codec: how features are normalised
        seed: of all choices
        rows: size of a batch, in grids of 20 x 20
        without: parts of PARTS to leave out, to see what they give
        held_out: words that no step may ask or teach, to see what is known of words that were never taught
    """

    def __init__(
        self,
        cache: FeatureCache,
        lexicon: Lexicon,
        table: WordTable,
        codec: FeatureCodec,
        *,
        seed: int,
        rows: int,
        without: Set[str] = frozenset(),
        held_out: Set[str] = frozenset(),
    ) -> None:
        self.cache, self.lexicon, self.seed, self.rows = cache, lexicon, seed, rows
        self.mean, self.deviation = (x[CHANNELS[0] :, None, None] for x in (codec.mean, codec.deviation))
        self.network = EfficientNetLite0().network
        self.class_words = [word for word in lexicon.leaves if word not in held_out]
        self.member = membership(lexicon, self.class_words)
        self.held_out = held_out
        used = [e for e in cache.examples if not e.held_back]
        self.pools = {
            "classes": [e for e in used if e.quarter <= 0],
            "masks": [replace(e, name="") if e.name in held_out else e for e in used if e.tagged],
            "words": [e for e in used if e.words and not e.words & held_out],
        }
        self.label_words = sorted({word for e in self.pools["words"] for word in e.words})
        self.chance = {
            "words": chances([e.words for e in self.pools["words"]]),
            "masks": chances([e.words & frozenset(TEACHER_WORDS) for e in self.pools["masks"]]),
        }
        self.wide = [w for w in self.class_words if w not in set(self.label_words)]
        known = set(self.label_words) | lexicon.leaves.keys() | held_out
        self.other = [w for w in table.words if w not in known]
        self.kinds = [kind for kind in KINDS if (cache.teachers or kind != "masks") and kind not in without]
        votes = (cache.teacher_votes([e])[0] for e in self.pools["masks"])
        self.importance = importances(votes) if "masks" in self.kinds else {}
        self.quilts, self.cells, self.weights = (part not in without for part in ("quilts", "cells", "weights"))

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng((self.seed, number))
        share = np.array([KINDS[kind] for kind in self.kinds])
        kind = self.kinds[rng.choice(len(share), p=share / share.sum())]
        likely = np.array(QUILTED[kind]) * [self.quilts, self.quilts, True, True]
        layout = LAYOUTS[rng.choice(4, p=likely / likely.sum())]
        pictures = self.rows * {"fine": 1, "coarse": COARSE_ROWS}.get(layout, 4)
        pool = self.pools[kind]
        examples = [pool[i] for i in rng.choice(len(pool), pictures, p=self.chance.get(kind))]
        cut = Cut(
            layout, rng.integers(0, TOKENS - HALF + 1, (pictures, 2)), torch.from_numpy(rng.random(pictures) < 0.5)
        )
        fine, coarse = (x.float() / SCALE for x in self.cache.features(examples))
        quarters = [self._quarter(e, x) for e, x in zip(examples, fine, strict=True)]
        fine = torch.stack(quarters)
        coarse = torch.stack([self._quarter(e, x) for e, x in zip(examples, coarse, strict=True)])
        upsampled = on_one_grid(fine, coarse)
        latents = cut(upsampled) if layout in ("fine", "quilt of crops") else self._coarse(cut, fine, coarse)
        make = {"classes": self._classes, "masks": self._masks, "words": self._words}[kind]
        words, target = make(rng, examples, cut, coarse)
        return Batch(kind, pictures, latents, words, target)

    @staticmethod
    def _quarter(example: Example, features: torch.Tensor) -> torch.Tensor:
        """Of four pictures put together, the features of the one of the example, enlarged twice."""
        if example.quarter < 0:
            return features
        side = features.shape[-1] // 2
        row, column = divmod(example.quarter, 2)
        part = features[None, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
        return interpolate(part, scale_factor=2, mode="bilinear", align_corners=False)[0]

    @staticmethod
    def _coarse(cut: Cut, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """At stride 32 the features of stride 32 are used as they are."""
        both = torch.cat([avg_pool2d(fine, 2), coarse], dim=1)
        both = torch.where(cut.flipped[:, None, None, None], both.flip(-1), both)
        return both if cut.layout == "coarse" else quilt(both)

    def _probabilities(self, coarse: torch.Tensor) -> torch.Tensor:
        """The classifier's [P, 10, 10, 1000] for normalised features."""
        return class_probabilities(self.network, coarse * self.deviation + self.mean)

    def _classes(
        self, rng: np.random.Generator, examples: Sequence[Example], cut: Cut, coarse: torch.Tensor
    ) -> tuple[list[str], Soft]:
        probabilities = self._probabilities(coarse)
        mass = probabilities.flatten(0, 2).mean(dim=0) @ self.member.T
        noise = torch.from_numpy(rng.gumbel(size=len(mass))).float() * 1.5
        used, chosen = torch.zeros(self.member.shape[1]), []
        for index in ((mass + 1e-4).log() + noise).argsort(descending=True).tolist():
            if (used * self.member[index]).sum() == 0:
                chosen.append(index)
                used += self.member[index]
                if len(chosen) == WORDS:
                    break
        shares = (probabilities @ self.member[chosen].T).permute(0, 3, 1, 2)
        shares = cut.pictures(interpolate(shares, size=(CELLS, CELLS), mode="bilinear", align_corners=False))
        return [self.class_words[i] for i in chosen], self._soft(shares, torch.ones(len(chosen)))

    def _masks(
        self, rng: np.random.Generator, examples: Sequence[Example], cut: Cut, coarse: torch.Tensor
    ) -> tuple[list[str], Soft]:
        shares = cell_shares(self.cache.teacher_votes(examples))
        shares[:, [word in self.held_out for word in TEACHER_WORDS]] = 0
        words, shares = self._named(examples, coarse, shares)
        words, shares, merged = merge_alike(words, shares, rng, self.held_out)
        shares = cut.pictures(shares)
        seen = shares.sum(dim=(0, 2, 3)) > 2  # half a token
        true = [word for word, s in zip(words, seen.tolist(), strict=True) if s]
        shares = shares[:, seen]
        negatives = self._negatives(rng, set(true) | merged | {w for e in examples for w in e.words}, len(true))
        empty = shares.new_zeros(len(shares), len(negatives), *shares.shape[2:])
        words = true + negatives
        importance = torch.tensor([self.importance.get(word, MOST_IMPORTANT) for word in words])
        return words, self._soft(torch.cat([shares, empty], dim=1), importance)

    def _soft(self, shares: torch.Tensor, importance: torch.Tensor) -> Soft:
        """The target of shares [P, C, H, W] that sum to 1 or less, as the words have this importance [C]."""
        weight = cell_weights(shares, importance) if self.weights else shares.sum(dim=1)
        if not self.cells:
            shares, weight = avg_pool2d(shares, 2), avg_pool2d(weight, 2)
        return Soft(shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-6), weight)

    def _named(
        self, examples: Sequence[Example], coarse: torch.Tensor, shares: torch.Tensor
    ) -> tuple[list[str], torch.Tensor]:
        """The word of a picture is put where the classifier sees it; the segmenters do not know most words."""
        words, extra = list(TEACHER_WORDS), []
        named = [i for i, e in enumerate(examples) if e.name in self.lexicon.leaves and e.name not in TEACHER_WORDS]
        if not named:
            return words, shares
        probabilities = self._probabilities(coarse[named])
        for i, p in zip(named, probabilities, strict=True):
            share = p[..., list(self.lexicon.leaves[examples[i].name])].sum(dim=-1)
            share = interpolate(share[None, None], size=(CELLS, CELLS), mode="bilinear", align_corners=False)[0, 0]
            shares[i, :, share > DOUBTFUL] = 0
            layer = torch.zeros(len(examples), *share.shape)
            layer[i] = (share > SURE).float()
            if examples[i].name in words:
                shares[:, words.index(examples[i].name)] += layer
            elif examples[i].name in [w for w, _ in extra]:
                extra = [(w, x + layer if w == examples[i].name else x) for w, x in extra]
            else:
                extra.append((examples[i].name, layer))
        if extra:
            words += [w for w, _ in extra]
            shares = torch.cat([shares, torch.stack([x for _, x in extra], dim=1)], dim=1)
        return words, shares

    def _words(
        self, rng: np.random.Generator, examples: Sequence[Example], cut: Cut, coarse: torch.Tensor
    ) -> tuple[list[str], Hard]:
        true_words = sorted({word for e in examples for word in e.words})
        negatives = self._negatives(rng, set(true_words), len(true_words), exclude_near=False)
        words = true_words + negatives
        position = {word: k for k, word in enumerate(words)}
        shape = (len(examples), len(words), TOKENS, TOKENS)
        true, unasked = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
        for i, example in enumerate(examples):
            maybe = near(set(example.words), self.lexicon, words) | (set() if example.tagged else STUFF)
            for word in example.words & position.keys():
                true[i, position[word]] = torch.from_numpy(where(word, example))
            for word in (maybe - example.words) & position.keys():
                unasked[i, position[word]] = True
        spread = [cut(x.float()).flatten(2) > 0.5 for x in (true, unasked)]
        tokens = spread[0].shape[2] // (4 if cut.layout.startswith("quilt") else 1)
        best = torch.tensor([tokens // 5 if word in STUFF else tokens // 12 for word in words])
        return words, Hard(spread[0], spread[1], best)

    def _negatives(
        self, rng: np.random.Generator, true: set[str], asked: int, *, exclude_near: bool = True
    ) -> list[str]:
        """Words that are true of no picture of the step: of the pictures' words, the classifier's, and the rest."""
        room = max(12, WORDS - asked)
        parts = ((self.label_words, room // 2), (self.wide, room // 4), (self.other, room - room // 2 - room // 4))
        negatives: list[str] = []
        for pool, count in parts:
            order = [pool[i] for i in rng.permutation(len(pool))[: 4 * count]]
            out = true | (near(true, self.lexicon, order) if exclude_near else set())
            negatives += [word for word in order if word not in out][:count]
        return negatives
