"""What the page shows of an answer, as HTML: the overlay, its legend, heat maps, the classes of a pixel, a strip.

Nothing here needs gradio. Words are the user's and are escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL.Image import Image

from ca_seg.jobs.segmentation import Segmentation
from ca_seg.viewer.answer import Answer
from ca_seg.viewer.picture import Picture
from ca_seg.viewer.strip import Strip
from ca_seg.visual.drawing import resized, shown_size
from ca_seg.visual.heatmaps import heatmap, value_range
from ca_seg.visual.overlay import overlay
from ca_seg.visual.palette import colour
from ca_seg.vocabulary import IGNORE_INDEX

MAX_HEATMAPS = 24
TILE = 224  # pixels of the long side of a heat map
QUALITY = 88  # of JPEG, on screen only


def safe(text: str) -> str:
    """Text for HTML and for templates of JavaScript, in which braces mean something."""
    return escape(text).translate({ord("{"): "&#123;", ord("}"): "&#125;", ord("$"): "&#36;", ord("`"): "&#96;"})


def shown_image(segmentation: Segmentation, isolated: str | None = None, alpha: float = 0.55) -> Image:
    """The photograph with its classes in colour, or with one class only, the others darkened."""
    mask = segmentation.mask.astype(np.int64)
    hidden = mask == segmentation.background
    pixels = segmentation.pixels
    if isolated is not None:
        hidden = mask != segmentation.index(isolated)
        pixels = np.where(hidden[..., None], pixels // 3, pixels)
    shown = np.where(hidden, IGNORE_INDEX, mask)
    return overlay(pixels, shown, segmentation.classes, alpha=alpha, legend=False, rgb=class_colours(segmentation))


def class_colours(segmentation: Segmentation) -> list[tuple[int, int, int]]:
    """RGB of each class, as in the overlay of `segment`."""
    chosen = segmentation.colours or {}
    return [chosen.get(name, colour(index)) for index, name in enumerate(segmentation.classes)]


def stage(answer: Answer, isolated: str | None = None) -> str:
    """The overlay to click on, and the legend: one button per class, the largest first."""
    segmentation = answer.segmentation
    height, width = segmentation.pixels.shape[:2]
    image = picture_tag(
        shown_image(segmentation, isolated),
        f"{segmentation.image_id}: {', '.join(answer.words)} in colour. Arrow keys move the point.",
    )
    colours, fractions = class_colours(segmentation), segmentation.fractions()
    rows = sorted(range(len(colours)), key=lambda index: -fractions[segmentation.classes[index]])
    buttons = "".join(
        _legend_button(
            name := segmentation.classes[index],
            "transparent" if index == segmentation.background else "rgb({}, {}, {})".format(*colours[index]),
            fractions[name],
            pressed=name == isolated,
        )
        for index in rows
    )
    return (
        f'<div class="ca-stage" tabindex="0" role="application" aria-label="Photograph" data-width="{width}" '
        f'data-height="{height}">{image}<span class="ca-point" hidden></span></div>'
        f'<div class="ca-legend" role="group" aria-label="Classes: press one to see it alone">{buttons}</div>'
    )


def _legend_button(name: str, ground: str, fraction: float, *, pressed: bool) -> str:
    return (
        f'<button type="button" class="ca-class" data-name="{safe(name)}" aria-pressed="{str(pressed).lower()}">'
        f'<span class="ca-colour" style="background: {ground}"></span>{safe(name)} '
        f'<span class="ca-share">{100 * fraction:.0f} %</span></button>'
    )


def heat_tiles(segmentation: Segmentation) -> str:
    """One heat map per class, each from its own lowest value (dark) to its highest."""
    maps = segmentation.maps[0].float().cpu().numpy()
    height, width = _tile_size(*segmentation.pixels.shape[:2])
    names = segmentation.classes[: len(maps)]
    tiles = "".join(
        _tile(heatmap(values, height, width), name, value_range(values))
        for values, name in list(zip(maps, names, strict=True))[:MAX_HEATMAPS]
    )
    more = len(maps) - MAX_HEATMAPS
    note = f"<p>{more} more are in the saved file.</p>" if more > 0 else ""
    return f'<div class="ca-tiles">{tiles}</div>{note}'


def strip_table(strip: Strip, height: int, width: int) -> str:
    """A row for each word, a column for each layer or timestep."""
    size = _tile_size(height, width)
    head = "".join(f"<th scope='col'>{safe(column)}</th>" for column in strip.columns)
    rows = "".join(
        f"<tr><th scope='row'>{safe(word)}</th>{_cells(strip, index, word, size)}</tr>"
        for index, word in enumerate(strip.words)
    )
    table = f'<table class="ca-strip"><tr><th></th>{head}</tr>{rows}</table>'
    return f'<div class="ca-scroll" tabindex="0" role="region" aria-label="Maps">{table}</div>'


def _cells(strip: Strip, index: int, word: str, size: tuple[int, int]) -> str:
    cells = []
    for maps, column in zip(strip.maps, strip.columns, strict=True):
        image = picture_tag(heatmap(maps[index], *size), f"{word}, {column}")
        cells.append(f"<td>{image}<small>{value_range(maps[index])}</small></td>")
    return "".join(cells)


def map_tiles(maps: np.ndarray, names: Sequence[str], image: Image | None = None) -> str:
    """Maps of a generation, and its picture where it is finished."""
    tiles = [] if image is None else [_tile(image, "picture", f"{image.width} x {image.height}")]
    tiles += [_tile(heatmap(m, TILE, TILE), name, value_range(m)) for m, name in zip(maps, names, strict=True)]
    return f'<div class="ca-tiles">{"".join(tiles)}</div>'


def pixel_bars(x: int, y: int, winner: str, classes: Iterable[tuple[str, float]], most: int = 8) -> str:
    """The classes of a pixel as bars."""
    rows = "".join(
        f"<li><span>{safe(name)}</span><meter min='0' max='1' value='{min(1.0, max(0.0, value)):.4f}'></meter>"
        f"<b>{value:.3f}</b></li>"
        for name, value in list(classes)[:most]
    )
    return f'<div class="ca-pixel"><p>Pixel {x}, {y}: <b>{safe(winner)}</b></p><ol>{rows}</ol></div>'


def status(answer: Answer) -> str:
    """How long it took, and what is to be known about the words."""
    took = f"{1000 * answer.ask_seconds:.0f} ms for the words"
    if answer.record_seconds:
        took += f", after a pass of {1000 * answer.record_seconds:.0f} ms"
    elif answer.kept:
        took += ", from the kept recording"
    else:
        took += " and a pass: these settings need one for every list of words"
    segmentation, notes = answer.segmentation, [took]
    if segmentation.unseen:
        words = ", ".join(f"{word} (nearest: {near})" for word, near in segmentation.unseen.items())
        notes.append(f"training never taught {words}; these maps are unreliable")
    if not segmentation.likely:
        notes.append("none of the words is likely in this picture")
    return "".join(f'<p class="{"ca-time" if note is took else "ca-note"}">{safe(note)}</p>' for note in notes)


def problem(text: str) -> str:
    """A message about something that cannot be done."""
    return f'<p class="ca-problem" role="alert">{safe(text)}</p>'


def picture_tag(image: Image, description: str) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{safe(description)}" draggable="false">'


def plain(picture: Picture) -> str:
    """A photograph before anything is asked."""
    pixels = picture.image.pixels.permute(1, 2, 0).mul(255).round().byte().numpy()
    shown = resized(pixels, *shown_size(*pixels.shape[:2]))
    return f'<div class="ca-stage">{picture_tag(shown, picture.image.image_id)}</div>'


def _tile(image: Image, name: str, note: str) -> str:
    return f"<figure>{picture_tag(image, name)}<figcaption>{safe(name)}<small>{note}</small></figcaption></figure>"


def _tile_size(height: int, width: int) -> tuple[int, int]:
    scale = TILE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
