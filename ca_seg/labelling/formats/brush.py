"""Label Studio's brush strokes: a mask as a packed run-length code.

The code is that of the library rle-pack (thi.ng), a stream of bits, highest first:

    32 bits  how many values           5 bits  bits of a value, less 1
    4 x 4    bits of a run's length, less 1, for four kinds of runs: here 3, 4, 8 and 16
    then for each run:   1 = one value repeated   2 bits: kind   its length less 1   the value, 8 bits

The values are red, green, blue and alpha of every pixel in reading order, each 0 or 255.
"""

from __future__ import annotations

import numpy as np

from ca_seg.errors import BadMask

KINDS = (3, 4, 8, 16)
LENGTH, VALUE = 32, 8
CHANNELS = 4


def brush_rle(mask: np.ndarray) -> list[int]:
    """A mask, bool [H, W], as the bytes of the "rle" of a brush label. Raises BadMask above 2^30 pixels."""
    pixels = mask.ravel()
    if pixels.size * CHANNELS >= 1 << LENGTH:
        raise BadMask(f"a mask of {pixels.size} pixels is too large for Label Studio", allowed="fewer than 2^30")
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = np.diff(starts, append=pixels.size) * CHANNELS
    values = np.where(pixels[starts], 255, 0)
    max_length = 1 << KINDS[-1]
    pieces = -(-lengths // max_length)  # a run that is longer is split
    values = np.repeat(values, pieces)
    piece_lengths = np.full(len(values), max_length)
    piece_lengths[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * max_length
    kind = np.searchsorted([1 << bits for bits in KINDS], piece_lengths)
    width = np.array(KINDS)[kind]
    codes = (((1 << 2 | kind) << width | piece_lengths - 1) << VALUE) | values
    head = [(pixels.size * CHANNELS, LENGTH), (VALUE - 1, 5), *((bits - 1, 4) for bits in KINDS)]
    numbers = np.concatenate([[number for number, _ in head], codes]).astype(">u4")
    counts = np.concatenate([[bits for _, bits in head], 1 + 2 + width + VALUE])
    bits = np.unpackbits(numbers.view(np.uint8)).reshape(-1, 32)
    return np.packbits(bits[np.arange(32) >= 32 - counts[:, None]]).tolist()
