"""The content of a page as plain values; `page.py` turns it into one HTML file."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL.Image import Image


@dataclass(frozen=True)
class ReportTable:
    """Text cells; the first column is the row's name."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    sortable: bool = False


@dataclass(frozen=True)
class GalleryItem:
    """One image of the gallery."""

    title: str
    views: tuple[tuple[str, Image], ...]  # caption and image, side by side


@dataclass(frozen=True)
class PageReport:
    """A page: title, tables, galleries, further tables, and the facts of the run."""

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[ReportTable, ...]
    galleries: tuple[tuple[str, tuple[GalleryItem, ...]], ...] = field(default=())
    details: tuple[ReportTable, ...] = ()  # tables below the images
