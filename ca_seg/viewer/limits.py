"""What the viewer refuses before anything is computed, each with one clear message."""

from __future__ import annotations

from ca_seg.errors import UserError

MAX_PROMPT = 2_000  # characters
MAX_SIDE, MAX_STEPS = 1_024, 50  # pixels and steps of a generated picture


def parse_words(text: str, most: int) -> tuple[str, ...]:
    """Words from one line, separated by commas or line ends.

    Args:
        text: as it was typed, such as "cat, grass, sky"
        most: the largest number of words

    Raises UserError for too many words.
    """
    words = tuple(word for part in text.splitlines() for word in map(str.strip, part.split(",")) if word)
    if len(words) > most:
        raise UserError(f"{len(words)} words", allowed=f"1 to {most}", fix="ask for fewer, or start with --max-words")
    return words


def check_pixels(height: int, width: int, name: str, max_megapixels: float) -> None:
    """Raises UserError for a picture that is too large, or has no pixels."""
    if height * width > 1e6 * max_megapixels:
        raise UserError(
            f"{name} has {height * width / 1e6:.1f} megapixels",
            allowed=f"at most {max_megapixels:g}",
            fix="make it smaller, or start with --max-megapixels",
        )


def check_generation(prompt: str, steps: int, side: int) -> None:
    """Raises UserError for a prompt, a number of steps or a size that is too large."""
    if not prompt.strip():
        raise UserError("there is no prompt", fix="say what to generate, such as: a cat on grass")
    if len(prompt) > MAX_PROMPT:
        raise UserError(f"the prompt has {len(prompt)} characters", allowed=f"at most {MAX_PROMPT}")
    if not 1 <= steps <= MAX_STEPS:
        raise UserError(f"{steps} steps", allowed=f"1 to {MAX_STEPS}")
    if not 1 <= side <= MAX_SIDE:
        raise UserError(f"a picture of {side} pixels", allowed=f"at most {MAX_SIDE}")
