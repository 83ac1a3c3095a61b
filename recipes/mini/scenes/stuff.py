"""Generated stuff: images of materials without an outline (grass, sky, brick ...).

Each kind has its own structure and range of colours. Scale, colour, contrast and direction vary from call to call, so
that a model learns the kind and not one image of it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator
Field = np.ndarray  # float32 [H, W]


def render(kind: str, rng: Rng, height: int, width: int) -> np.ndarray:
    """An image of `kind`, float32 [H, W, 3] in 0..1."""
    return np.clip(KINDS[kind](rng, height, width), 0, 1)


def _noise(rng: Rng, h: int, w: int, cell: float, stretch: tuple[float, float] = (1, 1)) -> Field:
    """Smooth noise of about unit spread with features of `cell` pixels, stretched along y and x."""
    rows, columns = (max(2, int(side / (cell * s)) + 2) for side, s in zip((h, w), stretch, strict=True))
    return cv2.resize(rng.standard_normal((rows, columns), dtype=np.float32), (w, h), interpolation=cv2.INTER_CUBIC)


def _octaves(rng: Rng, h: int, w: int, cells: tuple[float, ...], stretch: tuple[float, float] = (1, 1)) -> Field:
    return sum(_noise(rng, h, w, cell, stretch) / (i + 1) for i, cell in enumerate(cells))


def _mix(low: tuple, high: tuple, fraction: Field) -> np.ndarray:
    low, high = np.array(low, np.float32), np.array(high, np.float32)
    return low + (high - low) * np.clip(fraction, 0, 1)[..., None]


def _tint(rng: Rng, colour: tuple, spread: float = 0.05) -> tuple:
    return tuple(np.array(colour) + rng.normal(0, spread, 3))


def _axes(h: int, w: int) -> tuple[Field, Field]:
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return y, x


def _turned(rng: Rng, h: int, w: int, spread: float) -> tuple[Field, Field]:
    """Axes turned by a normal angle (radians) and shifted by a random start."""
    y, x = _axes(h, w)
    angle = rng.normal(0, spread)
    return (
        y * np.cos(angle) - x * np.sin(angle) + rng.uniform(0, 100),
        x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 100),
    )


def grass(rng: Rng, h: int, w: int) -> np.ndarray:
    blades = _noise(rng, h, w, 1.6, (3.5, 0.8)) + 0.6 * _noise(rng, h, w, 12)
    return _mix(_tint(rng, (0.10, 0.30, 0.06)), _tint(rng, (0.50, 0.78, 0.22)), 0.5 + 0.28 * blades)


def sky(rng: Rng, h: int, w: int) -> np.ndarray:
    y, _ = _axes(h, w)
    blue = _mix(_tint(rng, (0.25, 0.52, 0.90)), _tint(rng, (0.62, 0.82, 0.98), 0.03), y / h * rng.uniform(0.5, 1.1))
    cloud = np.clip(0.45 * _octaves(rng, h, w, (40, 18, 8), (0.6, 1.2)) - rng.uniform(-0.1, 0.6), 0, 1)
    return blue + (0.97 - blue) * cloud[..., None]


def water(rng: Rng, h: int, w: int) -> np.ndarray:
    y, _ = _turned(rng, h, w, 0.1)
    bend = _noise(rng, h, w, 18, (0.5, 1.6))
    wave = np.sin(y * rng.uniform(0.55, 0.9) + 2.2 * bend) + 0.5 * _noise(rng, h, w, 4, (0.6, 2.5))
    body = _mix(_tint(rng, (0.01, 0.22, 0.40)), _tint(rng, (0.10, 0.55, 0.66)), 0.5 + 0.3 * wave)
    return body + 0.35 * np.clip(wave - 1.1, 0, 1)[..., None]


def sand(rng: Rng, h: int, w: int) -> np.ndarray:
    y, _ = _turned(rng, h, w, 0.5)
    ripple = np.sin(y * rng.uniform(0.25, 0.45) + 1.5 * _noise(rng, h, w, 24))
    grain = 0.35 * rng.standard_normal((h, w), dtype=np.float32)
    return _mix(_tint(rng, (0.72, 0.58, 0.36)), _tint(rng, (0.95, 0.85, 0.62)), 0.5 + 0.2 * ripple + 0.3 * grain)


def brick(rng: Rng, h: int, w: int) -> np.ndarray:
    y, x = _turned(rng, h, w, 0.06)
    tall, gap = rng.uniform(8, 15), 1.6
    long = tall * rng.uniform(1.9, 2.5)
    row = np.floor(y / tall)
    shifted = x + (row % 2) * long / 2
    column = np.floor(shifted / long)
    shade = rng.standard_normal(4096).astype(np.float32)[((row * 57 + column * 131) % 4096).astype(int)]
    body = _mix(
        _tint(rng, (0.48, 0.16, 0.10)), _tint(rng, (0.78, 0.36, 0.24)), 0.5 + 0.22 * shade + 0.1 * _noise(rng, h, w, 2)
    )
    mortar = ((y % tall) < gap) | ((shifted % long) < gap)
    return np.where(mortar[..., None], np.array(_tint(rng, (0.78, 0.75, 0.70), 0.03), np.float32), body)


def wood(rng: Rng, h: int, w: int) -> np.ndarray:
    y, _ = _turned(rng, h, w, 0.12)
    plank = rng.uniform(18, 34)
    board = np.floor(y / plank)
    shift = rng.uniform(0, 400, 64).astype(np.float32)[(board % 64).astype(int)]
    rings = np.sin(y * rng.uniform(0.9, 1.4) + 2.5 * _noise(rng, h, w, 22, (0.5, 3)) + shift)
    fibre = _noise(rng, h, w, 1.5, (0.7, 9))
    tone = rng.uniform(0, 1)
    low, high = (0.34 + 0.14 * tone, 0.19 + 0.10 * tone, 0.08), (0.62 + 0.16 * tone, 0.40 + 0.14 * tone, 0.20)
    body = _mix(low, high, 0.5 + 0.22 * rings + 0.16 * fibre + 0.02 * (shift % 7 - 3))
    return body * np.where((y % plank) < 1.3, 0.45, 1.0)[..., None]


def snow(rng: Rng, h: int, w: int) -> np.ndarray:
    drift = _octaves(rng, h, w, (36, 16, 4), (0.7, 1.3))
    body = _mix(_tint(rng, (0.78, 0.85, 0.94), 0.02), (0.99, 0.99, 1.0), 0.6 + 0.3 * drift)
    return body + 0.08 * (rng.random((h, w)) > 0.985)[..., None]


def stone(rng: Rng, h: int, w: int) -> np.ndarray:
    """Cobbles: cells around scattered points, dark joints."""
    cell = rng.uniform(13, 22)
    rows, columns = int(h / cell) + 3, int(w / cell) + 3
    gy, gx = np.mgrid[0:rows, 0:columns].astype(np.float32)
    py = ((gy - 1 + rng.uniform(0.1, 0.9, gy.shape)) * cell).ravel()
    px = ((gx - 1 + rng.uniform(0.1, 0.9, gx.shape)) * cell).ravel()
    y, x = _axes(h // 2 + 1, w // 2 + 1)
    apart = (2 * y[..., None] - py) ** 2 + (2 * x[..., None] - px) ** 2
    near = np.argmin(apart, axis=-1)
    two = np.partition(apart, 1, axis=-1)[..., :2]
    joint = cv2.resize(np.sqrt(two[..., 1]) - np.sqrt(two[..., 0]), (w, h))
    shade = cv2.resize(rng.standard_normal(len(py)).astype(np.float32)[near], (w, h))
    body = _mix(
        _tint(rng, (0.38, 0.38, 0.36), 0.03),
        _tint(rng, (0.70, 0.69, 0.66), 0.03),
        0.5 + 0.2 * shade + 0.15 * _noise(rng, h, w, 3),
    )
    return body * (0.35 + 0.65 * np.clip(joint / 4, 0, 1))[..., None]


def road(rng: Rng, h: int, w: int) -> np.ndarray:
    grain = 0.6 * rng.standard_normal((h, w), dtype=np.float32) + 0.5 * _noise(rng, h, w, 25)
    body = _mix(_tint(rng, (0.16, 0.16, 0.18), 0.02), _tint(rng, (0.36, 0.36, 0.38), 0.02), 0.5 + 0.25 * grain)
    y, x = _turned(rng, h, w, 0.9)
    band, dash = rng.uniform(50, 80), rng.uniform(18, 30)
    line = ((x % band) < 4) & ((y % dash) < 0.6 * dash)
    paint = np.array((0.92, 0.9, 0.8) if rng.random() < 0.6 else (0.9, 0.75, 0.2), np.float32)
    return np.where(line[..., None], paint, body)


def leaves(rng: Rng, h: int, w: int) -> np.ndarray:
    """Autumn leaves: overlapping blots of red, orange and brown."""
    first, second = _noise(rng, h, w, 6), _noise(rng, h, w, 7)
    body = _mix(_tint(rng, (0.50, 0.14, 0.05)), _tint(rng, (0.93, 0.58, 0.10)), 0.5 + 0.5 * np.round(first * 1.5) / 1.5)
    dark = np.clip(np.abs(first * 1.5 - np.round(first * 1.5)) * 3 - 1.0, 0, 1) + np.clip(0.3 * second, 0, 0.4)
    return body * (1 - 0.6 * np.clip(dark, 0, 1))[..., None]


def tile(rng: Rng, h: int, w: int) -> np.ndarray:
    y, x = _turned(rng, h, w, 0.08)
    side = rng.uniform(12, 22)
    row, column = np.floor(y / side), np.floor(x / side)
    light = _tint(rng, (0.88, 0.92, 0.93), 0.03)
    dark = _tint(rng, ((0.20, 0.50, 0.60), (0.16, 0.22, 0.36), (0.55, 0.30, 0.50))[rng.integers(3)], 0.04)
    body = _mix(light, dark, (row + column) % 2)
    grout = ((y % side) < 1.5) | ((x % side) < 1.5)
    return np.where(grout[..., None], 0.55, body + 0.03 * _noise(rng, h, w, 8)[..., None])


def metal(rng: Rng, h: int, w: int) -> np.ndarray:
    """Brushed plate with a raised lozenge pattern."""
    y, x = _turned(rng, h, w, 0.1)
    step = rng.uniform(9, 14)
    a, b = (x + y) / step, (x - y) / step
    bump = np.where(
        (np.floor(a) + np.floor(b)) % 2 == 0,
        np.sin(np.pi * a) ** 2 * np.sin(np.pi * b) ** 8,
        np.sin(np.pi * a) ** 8 * np.sin(np.pi * b) ** 2,
    )
    sheen = 0.5 + 0.15 * _noise(rng, h, w, 1.2, (0.8, 12)) + 0.2 * _noise(rng, h, w, 40) + 0.5 * bump
    return _mix(_tint(rng, (0.40, 0.43, 0.48), 0.02), _tint(rng, (0.80, 0.83, 0.88), 0.02), sheen)


def marble(rng: Rng, h: int, w: int) -> np.ndarray:
    y, x = _turned(rng, h, w, 0.6)
    vein = np.abs(np.sin((x + y) * rng.uniform(0.04, 0.07) + 1.6 * _octaves(rng, h, w, (30, 14, 6))))
    body = np.array(_tint(rng, (0.93, 0.91, 0.86), 0.02), np.float32) - 0.04 * _noise(rng, h, w, 20)[..., None]
    ink = np.array(_tint(rng, (0.42, 0.38, 0.34), 0.04), np.float32)
    return ink + (body - ink) * np.clip(vein * 4, 0, 1)[..., None] ** 0.7


def lava(rng: Rng, h: int, w: int) -> np.ndarray:
    crack = np.abs(_octaves(rng, h, w, (20, 9, 4)))
    glow = np.clip(1.25 - crack * rng.uniform(2.0, 3.0), 0, 1)
    rock = _mix((0.08, 0.05, 0.05), (0.24, 0.16, 0.15), 0.5 + 0.3 * _noise(rng, h, w, 3))
    fire = _mix(_tint(rng, (0.85, 0.15, 0.02), 0.03), (1.0, 0.82, 0.20), glow)
    return rock + (fire - rock) * np.clip(glow * 1.6, 0, 1)[..., None]


def carpet(rng: Rng, h: int, w: int) -> np.ndarray:
    """Woven stripes across threads."""
    y, x = _turned(rng, h, w, 0.15)
    weave = np.sin(x * 2.1) * np.sin(y * 2.1)
    band = np.floor(x / rng.uniform(9, 16)) % 3
    first = _tint(rng, ((0.52, 0.10, 0.28), (0.32, 0.14, 0.48), (0.10, 0.32, 0.30))[rng.integers(3)], 0.04)
    colours = np.array([first, _tint(rng, (0.85, 0.72, 0.52), 0.04), tuple(0.55 * np.array(first))], np.float32)
    return colours[band.astype(int)] * (0.82 + 0.22 * weave + 0.06 * rng.standard_normal((h, w)))[..., None]


def soil(rng: Rng, h: int, w: int) -> np.ndarray:
    clod = _octaves(rng, h, w, (9, 4, 2))
    body = _mix(_tint(rng, (0.13, 0.07, 0.04), 0.02), _tint(rng, (0.42, 0.27, 0.17), 0.03), 0.45 + 0.28 * clod)
    return body + 0.25 * (rng.random((h, w)) > 0.99)[..., None]


KINDS: dict[str, Callable[[Rng, int, int], np.ndarray]] = {
    kind.__name__: kind
    for kind in (
        grass,
        sky,
        water,
        sand,
        brick,
        wood,
        snow,
        stone,
        road,
        leaves,
        tile,
        metal,
        marble,
        lava,
        carpet,
        soil,
    )
}
