"""The readers by name.

name         looks at                        published
seg4diff     image to words of the prompt    Kim et al., NeurIPS 2025, arXiv 2509.18096
goca         image to words of the prompt    Meng et al., CVPR 2026, arXiv 2603.06178
tokenrank    concept to image, image         Erel et al., NeurIPS 2025, arXiv 2507.17657
gramcol      outputs of the image            Jun et al., CVPR 2026, arXiv 2603.02919
anchordiff   concept to image, image         arXiv 2605.26460, its idea only
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

import torch

from ca_seg.concept.features import ConceptFeatures, check_finite
from ca_seg.concept.readers.anchordiff import anchordiff
from ca_seg.concept.readers.goca import goca
from ca_seg.concept.readers.gramcol import gramcol
from ca_seg.concept.readers.seg4diff import seg4diff
from ca_seg.concept.readers.tokenrank import tokenrank
from ca_seg.errors import OutOfRange, UnknownName

FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "seg4diff": seg4diff,
    "goca": goca,
    "tokenrank": tokenrank,
    "gramcol": gramcol,
    "anchordiff": anchordiff,
}


def read(name: str, features: ConceptFeatures, options: Mapping[str, Any] | None = None) -> torch.Tensor:
    """Class maps [B, K, h, w] (frames before h for a video) of the reader called `name`.

    They are 0 or more and sum to 1 over the classes, except where all of them are 0.

    Args:
        name: of FUNCTIONS
        features: as `ask` gives them
        options: keyword arguments of its function; None: its published settings
    """
    return check_finite(FUNCTIONS[name](features, **(options or {})))


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises UnknownName and OutOfRange for options that the reader called `name` does not take."""
    function = FUNCTIONS.get(name)  # `concepts` has fields of the readout in place of options
    parameters = {} if function is None else signature(function).parameters
    known = {p.name: p.default for p in parameters.values() if p.kind is Parameter.KEYWORD_ONLY}
    for option, value in options.items():
        if option not in known:
            raise UnknownName(f"option of the reader {name}", option, tuple(known))
        default = known[option]
        if isinstance(default, bool):
            sound, allowed = isinstance(value, bool), "true or false"
        elif isinstance(default, int):
            least = min(default, 1)
            sound, allowed = type(value) is int and value >= least, f"a whole number, {least} or more"
        else:
            sound, allowed = type(value) in (int, float) and 0 <= value <= 1, "a number from 0 to 1"
        if not sound:
            raise OutOfRange(f"the option {option} of the reader {name} is {value!r}", allowed=allowed)
