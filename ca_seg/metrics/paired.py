"""Is one run better than another on the same images? The difference image by image, with its interval.

Images differ in difficulty far more than two methods differ on one image. The difference of each image takes the
difficulty out, so its interval is much narrower than the intervals of the two runs seen apart:

    image         first   second   difference
    street_01      0.31     0.35        +0.04      better        mean difference, and the 2.5 % and 97.5 % points of
    street_02      0.90     0.92        +0.02      better        that mean over draws of images with replacement:
    street_03      0.72     0.71        -0.01      worse         0 outside them is a difference one can rely on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf, isnan, nan

import numpy as np
from scipy.stats import bootstrap

from ca_seg.errors import OutOfRange, UserError

REPLICATES = 2000
LEVEL = 0.95
_NAMED = 5  # images named in an error
_AT_ONCE = 2**22  # numbers drawn at once


@dataclass(frozen=True)
class PairedDifference:
    """Second less first, over images."""

    mean: float
    low: float  # of the interval of the mean; nan for a single image
    high: float
    better: int  # images where the second is higher
    worse: int
    equal: int
    without: int  # images that have no figure (nan) in either run; counted nowhere else

    @property
    def images(self) -> int:
        return self.better + self.worse + self.equal


def paired_difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> PairedDifference:
    """Compare two runs from a figure of each image, {name: value}; nan where an image has none (all void).

    The interval is the percentile bootstrap of the mean difference. It does not depend on the order of the images.
    The mean of per-image figures is not the figure of the dataset (mIoU sums pixels first), so a difference here
    may differ from that of the headline figures.

    Raises UserError when the runs hold different images or when an image has a figure in one run only, and names
    them; when no image has a figure; OutOfRange for an infinite figure, a level outside 0..1, or no replicate.
    """
    if not 0 < level < 1:
        raise OutOfRange(f"an interval of level {level}", allowed="above 0 and below 1")
    if replicates < 1:
        raise OutOfRange(f"a bootstrap of {replicates} replicates", allowed="1 or more")
    _check_same(first, second)
    for run in (first, second):
        endless = sorted(name for name, value in run.items() if isinf(value))
        if endless:
            raise OutOfRange(f"an infinite figure of {_some(endless)}", allowed="finite figures")
    with_figure = sorted(name for name in first if not isnan(first[name]))
    if not with_figure:
        raise UserError("two runs to compare, but no image has a figure")
    change = np.array([second[name] - first[name] for name in with_figure], dtype=np.float64)
    low, high = _interval(change, level, replicates, seed)
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    equal, without = len(change) - better - worse, len(first) - len(change)
    return PairedDifference(float(change.mean()), low, high, better, worse, equal, without)


def _interval(change: np.ndarray, level: float, replicates: int, seed: int) -> tuple[float, float]:
    if len(change) == 1:
        return nan, nan
    drawn = bootstrap(
        (change,),
        np.mean,
        n_resamples=replicates,
        batch=max(1, _AT_ONCE // len(change)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def _check_same(first: Mapping[str, float], second: Mapping[str, float]) -> None:
    parts = []
    for which, own, other in (("first", first, second), ("second", second, first)):
        alone = sorted(own.keys() - other.keys())
        if alone:
            parts.append(f"only the {which} has {_some(alone)}")
    if parts:
        raise UserError(
            f"the two runs hold different images: {', '.join(parts)}", fix="compare runs over the same split"
        )
    one_sided = sorted(name for name in first if isnan(first[name]) != isnan(second[name]))
    if one_sided:
        raise UserError(
            f"{_some(one_sided)} has a figure in one run and none (nan) in the other",
            fix="score both runs against the same masks",
        )


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
