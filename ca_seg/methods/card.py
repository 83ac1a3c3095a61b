"""What a method is: where it was published, which words it sees, what it is built from, and its real weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WordsSeen = Literal["free", "fixed", "none"]
Ready = Literal["model", "pipeline", "backbone"]


@dataclass(frozen=True)
class Weights:
    """Published weights.

    Args:
        repository: of the Hugging Face hub, as owner/name
        licence: of the weights
        revision: branch, tag or commit
        file: one file of the repository; empty: those that the library reads
        page: where to download the file by hand, for weights that are on no hub
    """

    repository: str
    licence: str
    revision: str = "main"
    file: str = ""
    page: str = ""

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repository}{at}{f'/{self.file}' if self.file else ''}"


@dataclass(frozen=True)
class MethodCard:
    """One method.

    Args:
        name: in `list_methods()`
        summary: one sentence
        paper: authors, year, title, and an arXiv number or venue
        kind: such as "supervised ViT", "self-supervised ViT", "CLIP", "U-Net", "diffusion transformer"
        words: "free": any words; "fixed": the classes that its network was trained on; "none": it is class-agnostic, so
            that it takes one class (the foreground) and at most a background beside it
        takes: the ready object that it can be built from in place of the real weights; empty: only an evaluation opens
            it, which has the dataset
        weights: the real weights; empty where there are none
        class_list: for fixed words, the classes of the real weights ("imagenet-1k")
        options: names of the options of `ca_seg.method` that it has
        probabilities: its maps sum to one over the classes, so that their calibration can be measured
    """

    name: str
    summary: str
    paper: str
    kind: str
    words: WordsSeen
    takes: Ready | None = None
    weights: tuple[Weights, ...] = ()
    class_list: str = ""
    options: tuple[str, ...] = ()
    probabilities: bool = False
