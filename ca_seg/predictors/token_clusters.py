"""Parts of an image without any word: image tokens with similar attention outputs belong together.

    attention outputs of the layers that maps read ──► cosine between tokens, mean over the layers
    ──► average linkage: the two most similar groups are merged, again and again
    ──► cut: at a given number of parts, or where the next merge is as wide as a fraction of the last and widest one

         ┌──────────┴─────────┐        1       the last merge
    - - -│- - - - - - - - - - │- - -   0.5     the cut: three parts
         │               ┌────┴────┐
       ┌─┴─┐           ┌─┴─┐     ┌─┴─┐         tokens

Average linkage is Sokal and Michener (1958), as SciPy has it. It gives the same parts every time: nothing is drawn.
docs/without_words.md compares it with other ways.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ca_seg.concept.recording import Recording
from ca_seg.errors import OutOfRange, UserError
from ca_seg.optional import optional_imports

THRESHOLD = 0.5  # of the last merge; cosines themselves differ too much between backbones
MAX_TOKENS = 10_000  # a distance for each pair of them is in memory


def token_clusters(recording: Recording, count: int | None = None, *, threshold: float = THRESHOLD) -> Tensor:
    """The part of each image token.

    Args:
        recording: of one image, with the attention outputs of its `layers`
        count: the number of parts; None: as the threshold says. Equal tokens are never parted, so there may be fewer
        threshold: groups whose mean distance is larger than this fraction of the last two groups' stay apart, 0..1

    Returns:
        int64 [h, w], 0 for the largest part, then 1, 2 ...

    Raises:
        OutOfRange: for more parts than tokens, more than 10,000 tokens, and another threshold
        UserError: for several images, and for a video
    """
    if recording.batch != 1 or recording.grid.frames != 1:
        raise UserError(
            f"parts of {recording.batch} images", allowed="one image", fix="select one: recording.select(0)"
        )
    tokens = recording.grid.tokens
    if count is not None and not 1 <= count <= tokens:
        raise OutOfRange(f"{count} parts of {tokens} tokens", allowed=f"1 to {tokens}")
    if not 0 <= threshold <= 1:
        raise OutOfRange(f"a threshold of {threshold}", allowed="0 to 1")
    if tokens > MAX_TOKENS:
        raise OutOfRange(f"{tokens} tokens", allowed=f"up to {MAX_TOKENS}", fix="give a lower resolution")
    if tokens == 1:
        return recording.grid.unflatten(torch.zeros(1, dtype=torch.int64))
    hierarchy = _scipy_hierarchy()
    pairs = token_distances(recording)[tuple(torch.triu_indices(tokens, tokens, 1))]
    tree = hierarchy.linkage(pairs.double().cpu().numpy(), "average")
    limit, criterion = (threshold * tree[-1, 2], "distance") if count is None else (count, "maxclust")
    numbers = torch.as_tensor(hierarchy.fcluster(tree, limit, criterion), dtype=torch.int64) - 1
    order = torch.bincount(numbers).argsort(descending=True, stable=True)
    return recording.grid.unflatten(order.argsort()[numbers])


def token_distances(recording: Recording) -> Tensor:
    """1 - cosine of the attention outputs of each two tokens, [N, N]: the mean over the recording's layers.

    The outputs of several noised copies are averaged first.
    """
    cosines = None
    for layer in recording.layers:
        output = recording.streams[layer].part("output").float().mean(dim=0)  # [heads, N, d]
        vectors = normalize(output.transpose(0, 1).flatten(1), dim=1)
        product = vectors @ vectors.T
        cosines = product if cosines is None else cosines + product
    assert cosines is not None
    return (1 - cosines / len(recording.layers)).clamp(min=0)


def _scipy_hierarchy() -> Any:
    with optional_imports("parts without words"):
        from scipy.cluster import hierarchy  # only here: it comes with an extra

    return hierarchy
