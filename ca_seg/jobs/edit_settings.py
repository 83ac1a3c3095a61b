"""The options of an edit, and what they may be together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import ImageColor

from ca_seg.editing.inpainting import Painting
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.seed_range import check_seed

ACTIONS = ("replace", "remove", "keep", "recolor")
GROW = 8  # pixels, by default, where the region is painted anew
MAX_GROW, MAX_FEATHER = 10_000, 100  # pixels


@dataclass(frozen=True)
class EditSettings(SegmentSettings):
    """Options of `edit`: one of replace, remove, keep and recolor, and those of `segment` for the mask.

    Args:
        replace: words; where they are, `by` is painted
        remove: words; where they are, the surroundings are painted: `by`, or else the background word around them
        keep: words; everything else is painted by `by`, or else becomes white
        recolor: words; they get the colour `by`, without a model
        by: the text to paint; for recolor a colour by name or code (red, #ff0000)
        mask: an image file in place of the words' own mask: 0 outside, everything else inside
        mask_only: decide the mask and edit nothing
        grow: pixels by which the mask grows before the edit; by default 8 where it is painted, else 0
        feather: pixels over which the photograph fades into the edit, inside the grown mask
        strength: above 0, at most 1; below 1 the region starts from the noised photograph and not from noise alone
        steps: of the scheduler; by default the pipeline's
        guidance: the guidance scale; by default the pipeline's
        pipeline: "blended", or a folder with an inpainting pipeline of diffusers; by default the backbone family's
    """

    replace: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    recolor: tuple[str, ...] = ()
    by: str = ""
    mask: str | None = None
    mask_only: bool = False
    grow: int | None = None
    feather: int = 4
    strength: float = 1.0
    steps: int | None = None
    guidance: float | None = None
    pipeline: str | None = None

    @property
    def action(self) -> str:
        """Which of the four was chosen. Raises UserError for none, and for several."""
        chosen = [name for name in ACTIONS if getattr(self, name)]
        if len(chosen) != 1:
            what = f"{' and '.join(chosen)} are given" if chosen else "nothing to do is given"
            raise UserError(what, allowed=f"one of {', '.join(ACTIONS)}", fix='an example: replace "cat" by "a dog"')
        return chosen[0]

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the mask."""
        words: tuple[str, ...] = getattr(self, self.action)
        return words

    @property
    def paints(self) -> bool:
        """Whether a model must generate."""
        return not self.mask_only and (
            self.action in ("replace", "remove") or (self.action == "keep" and bool(self.by))
        )

    @property
    def growth(self) -> int:
        """Pixels by which the mask grows."""
        if self.grow is not None:
            return self.grow
        return GROW if self.action in ("replace", "remove") else 0

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour of recolor. Raises UserError."""
        try:
            red, green, blue = ImageColor.getrgb(self.by)[:3]
        except ValueError as problem:
            raise UserError(
                f"the colour {self.by!r}", allowed="names such as red, or codes such as #ff0000"
            ) from problem
        return red, green, blue

    def painting(self, prompt: str) -> Painting:
        return Painting(prompt, self.strength, self.steps, self.guidance, self.seed)

    def check(self) -> None:
        """Raises UserError for options that do not fit each other, OutOfRange for numbers out of range."""
        check_seed(self.seed)
        for word in self.words:
            if not isinstance(word, str) or not word.strip():
                raise UserError(f"a word of {self.action} is {word!r}", allowed="words")
        if not isinstance(self.by, str) or (self.by and not self.by.strip()):
            raise UserError(f"by is {self.by!r}", allowed="text, or a colour for recolor")
        if not self.mask_only and not self.by and self.action in ("replace", "recolor"):
            what = "a text" if self.action == "replace" else "a colour"
            raise UserError(f"{self.action} is given without by", fix=f"give {what}: by")
        if self.action == "recolor" and self.by:
            self.rgb  # noqa: B018  # raises
        if self.colors is not None:
            raise UserError("colors is given, and an edit shows no classes", fix="leave colors out")
        self._check_number("grow", self.growth, MAX_GROW)
        self._check_number("feather", self.feather, MAX_FEATHER)
        self.painting("").check()
        if not self.paints:
            self._check_unused()

    def _check_unused(self) -> None:
        """Raises UserError for options of a model where none paints: they would have no effect."""
        default = type(self)()
        for name in ("pipeline", "steps", "guidance", "strength"):
            if getattr(self, name) != getattr(default, name) and not self.mask_only:
                raise UserError(f"{name} is given, and no model paints", fix=f"leave {name} out")

    @staticmethod
    def _check_number(name: str, value: Any, highest: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            raise OutOfRange(f"{name} is {value!r}", allowed=f"0 to {highest} pixels")
