"""Confidence maps, to look at and to sort by.

confidence/<key>.png     8-bit gray, round(255 * confidence), the image's own size; also of ignored pixels
"""

from __future__ import annotations

import numpy as np

from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output

FOLDER = "confidence"
FAST = 1  # a third of the time of the usual compression, for a third more bytes


def write_confidence(output: Output, label: Label) -> list[str]:
    """Write the confidence of one label. Returns the file's name in a list, empty for a label without confidence."""
    if label.confidence is None:
        return []
    gray = np.rint(label.confidence * 255).astype(np.uint8)
    return [output.png(f"{FOLDER}/{label.key}.png", gray, compression=FAST)]
