"""A report as one HTML file that opens offline: images and scripts are inside."""

from __future__ import annotations

import base64
import io
import re
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL.Image import Image

from ca_seg.atomic import atomic_write
from ca_seg.visual.report import PageReport, ReportTable

NUMBER = re.compile(r"[-+]?[0-9][0-9., ]*(e[-+]?[0-9]+)?( ?%)?|-|nan|not measured")


def write_page(path: Path, report: PageReport) -> None:
    """Write a report atomically. Class names and paths are escaped.

    Raises:
        UserError: when the file cannot be written
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = data_uri
    environment.filters["text_columns"] = text_columns
    source = (files("ca_seg.visual") / "page.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(report=report)
    with atomic_write(path) as part:
        part.write_text(html, encoding="utf-8")


def text_columns(table: ReportTable) -> list[bool]:
    """Which columns are text (aligned left, sorted alphabetically): the row's name, and columns with words."""
    return [
        column == 0 or not all(NUMBER.fullmatch(row[column]) for row in table.rows) for column in range(len(table.head))
    ]


def data_uri(image: Image) -> str:
    """The image as WebP, for an address inside the page."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=86)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
