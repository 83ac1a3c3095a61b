"""What the segmenters and detectors say of a picture: a word, or two, for every position, and words with boxes.

    three masks ─┐                     first vote   [64, 64]    two votes, because teachers differ in what they call
                 ├─► votes of words ─►                          a thing (ground or soil, person or face)
    boxes ───────┘                     second vote  [64, 64]

Where VOC's segmenter sees a thing, both votes are that thing. Elsewhere each of ADE20K's two segmenters has one; a
thing of VOC's that only one of them sees is left out. Then the middle of a detector's box is that thing. A person whose
face was detected is `person` by the first vote, `face` or `body` by the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipes.photo.detectors import DETECTORS, Box
from recipes.photo.segmenters import ADE, ADE_150, GRID, SEGMENTERS, VOC

TEACHER_WORDS = tuple(
    dict.fromkeys([word for network in (*SEGMENTERS, *DETECTORS) for word in network.words if word] + ["body"])
)
UNKNOWN = 255
VOTES = (2, GRID, GRID)
LEAST = {ADE.name: 0.05, ADE_150.name: 0.08, VOC.name: 0.04}  # the share of a picture at which a class is a word of it
SMALLEST_BOX = 0.015  # of the picture, for a word with a place
SMALL_BOX = 0.05  # of the picture; a larger one may have people in front
MARGIN = 0.15  # of a box's side, left out at each side
THIN = {"skis", "snowboard", "baseball bat", "tennis racket", "fork", "knife", "spoon", "scissors", "toothbrush",
        "kite", "umbrella", "tie", "fire hydrant"}  # fmt: skip  # fill less of their boxes: one vote of two
_INDEX = {word: index for index, word in enumerate(TEACHER_WORDS)}
_THINGS = np.array([_INDEX[word] for word in VOC.words if word])
_TABLES = [
    np.array([_INDEX.get(word, UNKNOWN) for word in file.words] + [UNKNOWN] * (256 - len(file.words)))
    for file in SEGMENTERS
]
_PERSON, _FACE, _BODY = (_INDEX[word] for word in ("person", "face", "body"))


def votes(masks: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """The two votes [2, 64, 64] uint8 of one picture: indices in TEACHER_WORDS, or UNKNOWN.

    Args:
        masks: the segmenters' classes [3, 64, 64]
        boxes: of the detectors
    """
    first, second, thing = (table[mask] for table, mask in zip(_TABLES, masks, strict=True))
    alone = first != second
    both = [np.where(np.isin(vote, _THINGS) & alone, UNKNOWN, vote) for vote in (first, second)]
    result = np.where(thing != UNKNOWN, thing, np.stack(both))
    for box in sorted(boxes, key=area, reverse=True):
        if box.word in ("person", "face"):
            continue
        place, word = inside(box, MARGIN), _INDEX[box.word]
        known = word in _THINGS
        place &= (thing == UNKNOWN) if known else (thing != _PERSON) | (area(box) < SMALL_BOX)
        for vote in result[:1] if known or box.word in THIN else result:
            vote[place] = word
    faces = [inside(box, 0.0) for box in boxes if box.word == "face"]
    if faces:
        person = (result == _PERSON).all(axis=0)
        result[1][person] = np.where(np.any(faces, axis=0), _FACE, _BODY)[person]
    return result.astype(np.uint8)


def agreed(both: np.ndarray) -> np.ndarray:
    """One index for every position of two votes [2, H, W]: UNKNOWN where they contradict each other."""
    first, second = both
    same = (first == second) | (second == UNKNOWN) | np.isin(second, (_FACE, _BODY))
    return np.where(same, first, np.where(first == UNKNOWN, second, UNKNOWN))


def words(masks: np.ndarray, boxes: Sequence[Box]) -> frozenset[str]:
    """The words of one picture: classes that cover enough of it, and things with boxes that are not too small.

    A person with a detected face has a body.
    """
    seen = {box.word for box in boxes if area(box) >= SMALLEST_BOX}
    faces = any(box.word == "face" for box in boxes)
    for file, mask in zip(SEGMENTERS, masks, strict=True):
        shares = np.bincount(mask.ravel(), minlength=256) / mask.size
        seen |= {word for k, word in enumerate(file.words) if word and shares[k] > LEAST[file.name]}
    return frozenset(seen | ({"body"} if faces and "person" in seen else set()))


def area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def inside(box: Box, margin: float, side: int = GRID) -> np.ndarray:
    """Which positions [side, side] lie inside a box, without a margin at each of its sides; at least one."""
    centres = (np.arange(side) + 0.5) / side
    along = []
    for low, high in ((box.top, box.bottom), (box.left, box.right)):
        gap = margin * (high - low)
        held = (centres >= low + gap) & (centres <= high - gap)
        held[min(side - 1, int((low + high) / 2 * side))] = True
        along.append(held)
    return along[0][:, None] & along[1][None]
