"""The readers by name.

name         looks at                        published
seg4diff     image to words of the prompt    Kim et al., NeurIPS 2025, arXiv 2509.18096
goca         image to words of the prompt    Meng et al., CVPR 2026, arXiv 2603.06178
tokenrank    concept to image, image         Erel et al., NeurIPS 2025, arXiv 2507.17657
gramcol      outputs of the image            Jun et al., CVPR 2026, arXiv 2603.02919
anchordiff   concept to image, image         arXiv 2605.26460, its idea only
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ca_seg.concept.features import ConceptFeatures, check_finite
from ca_seg.concept.readers.anchordiff import anchordiff
from ca_seg.concept.readers.goca import goca
from ca_seg.concept.readers.gramcol import gramcol
from ca_seg.concept.readers.seg4diff import seg4diff
from ca_seg.concept.readers.tokenrank import tokenrank

FUNCTIONS: dict[str, Callable[[ConceptFeatures], torch.Tensor]] = {
    "seg4diff": seg4diff,
    "goca": goca,
    "tokenrank": tokenrank,
    "gramcol": gramcol,
    "anchordiff": anchordiff,
}


def read(name: str, features: ConceptFeatures) -> torch.Tensor:
    """Class maps [B, K, h, w] (frames before h for a video) of the reader called `name`, at its published settings.

    They are 0 or more and sum to 1 over the classes, except where all of them are 0.
    """
    return check_finite(FUNCTIONS[name](features))
