"""The difference between two runs on the same images, with its interval.

Images differ in difficulty far more than two methods differ on one image. The difference per image removes the
difficulty, so its interval is much narrower than the intervals of the two runs:

    image         first   second   difference
    street_01      0.31     0.35        +0.04      better        mean difference, and the 2.5 % and 97.5 % points of
    street_02      0.90     0.92        +0.02      better        that mean over images drawn with replacement:
    street_03      0.72     0.71        -0.01      worse         the difference is significant if 0 is outside
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
_MAX_NAMED = 5  # images named in an error
_CHUNK_ELEMENTS = 2**22  # random numbers at a time


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first, over images."""

    mean: float
    low: float  # of the interval of the mean; NaN for a single image
    high: float
    better: int  # images where the second is higher
    worse: int
    equal: int
    unscored: int  # images without a score (NaN) in both runs; counted nowhere else

    @property
    def images(self) -> int:
        """Images with a score."""
        return self.better + self.worse + self.equal


def paired_difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> PairedDifference:
    """Compare two runs by a score of each image.

    The interval is the percentile bootstrap of the mean difference. It does not depend on the order of the images.
    The mean of per-image scores is not the score of the dataset (mIoU sums pixels first), so this difference may differ
    from that of the headline figures.

    Args:
        first: score by image_id; NaN where an image has none (all void)
        second: likewise
        level: of the interval, above 0 and below 1
        replicates: of the bootstrap, 1 or more
        seed: of the bootstrap

    Returns:
        The mean difference, its interval, and numbers of images.

    Raises:
        UserError: when the runs hold different images, when an image has a score in one run only, or when no image has
            a score
        OutOfRange: for an infinite score, or another level or number of replicates
    """
    if not 0 < level < 1:
        raise OutOfRange(f"an interval of level {level}", allowed="above 0 and below 1")
    if replicates < 1:
        raise OutOfRange(f"a bootstrap of {replicates} replicates", allowed="1 or more")
    _check_same(first, second)
    for run in (first, second):
        infinite = sorted(name for name, value in run.items() if isinf(value))
        if infinite:
            raise OutOfRange(f"an infinite score of {_some(infinite)}", allowed="finite scores")
    scored = sorted(name for name in first if not isnan(first[name]))
    if not scored:
        raise UserError("two runs to compare, but no image has a score")
    differences = np.array([second[name] - first[name] for name in scored], dtype=np.float64)
    low, high = _interval(differences, level, replicates, seed)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    equal, unscored = len(differences) - better - worse, len(first) - len(differences)
    return PairedDifference(float(differences.mean()), low, high, better, worse, equal, unscored)


def _interval(differences: np.ndarray, level: float, replicates: int, seed: int) -> tuple[float, float]:
    if len(differences) == 1:
        return nan, nan
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=replicates,
        batch=max(1, _CHUNK_ELEMENTS // len(differences)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _check_same(first: Mapping[str, float], second: Mapping[str, float]) -> None:
    parts = []
    for which, run, other_run in (("first", first, second), ("second", second, first)):
        only_here = sorted(run.keys() - other_run.keys())
        if only_here:
            parts.append(f"only the {which} has {_some(only_here)}")
    if parts:
        raise UserError(
            f"the two runs hold different images: {', '.join(parts)}", fix="compare runs over the same split"
        )
    one_sided = sorted(name for name in first if isnan(first[name]) != isnan(second[name]))
    if one_sided:
        raise UserError(
            f"{_some(one_sided)} has a score in one run and none (NaN) in the other",
            fix="score both runs against the same masks",
        )


def _some(names: list[str]) -> str:
    rest = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
