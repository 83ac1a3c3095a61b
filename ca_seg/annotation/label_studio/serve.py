"""Serves the backend of Label Studio over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from werkzeug.serving import make_server

from ca_seg.annotation.image_source import ImageSource
from ca_seg.annotation.label_studio.app import create_app
from ca_seg.annotation.label_studio.backend import LabelStudioBackend
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.backbones.backbone import Backbone
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.segmenter import SegmentSettings

TOKEN = "LABEL_STUDIO_API_KEY"  # the environment variable, of the same name as in Label Studio's tools
MAX_PORT = 65535


@dataclass(frozen=True)
class LabelStudioSettings(SegmentSettings):
    """Options of `ca-seg serve label-studio`.

    The access token of Label Studio is read from the environment variable LABEL_STUDIO_API_KEY.

    Args:
        port: of the backend; 0: any that is free
        address: at which it listens; 127.0.0.1: from this machine only, 0.0.0.0: from everywhere
        root: the folder of local images, the same as Label Studio's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT
        label_studio: the address of Label Studio, from which uploaded images are fetched
        servers: names of further servers that images may come from; '*': any
        max_megabytes: of an image file
        timeout: seconds that a server may take
        recordings: how many images' recordings are kept for the next question
        control: the name of the control that is predicted; by default the first of a project
        tolerance: how far a polygon may leave the rim of its part, in pixels
        min_area: polygons and rectangles of smaller parts are left out, as a fraction of the image
        check: load everything, print the address, and stop
    """

    port: int = 9090
    address: str = "127.0.0.1"
    root: str | None = None
    label_studio: str = "http://localhost:8080"
    servers: tuple[str, ...] = ()
    max_megabytes: float = 64
    timeout: float = 30
    recordings: int = 4
    control: str = ""
    tolerance: float = 1.0
    min_area: float = 0.0
    check: bool = False


def label_studio_backend(
    settings: LabelStudioSettings | None = None, *, backbone: Backbone | None = None
) -> LabelStudioBackend:
    """A backend with these settings, loaded.

    Args:
        settings: all options
        backbone: a loaded one, in place of the settings'

    Raises:
        OutOfRange: for a number outside its range
        UserError: for settings and weights that cannot be used
    """
    chosen = checked_settings(settings, LabelStudioSettings())
    if not 0 <= chosen.port <= MAX_PORT:
        raise OutOfRange(f"port {chosen.port}", allowed=f"1 to {MAX_PORT}, or 0 for any that is free")
    if not 0 <= chosen.min_area <= 1 or chosen.tolerance < 0:
        raise OutOfRange(
            f"a smallest area of {chosen.min_area} and a tolerance of {chosen.tolerance}",
            allowed="an area of 0 to 1, and a tolerance of 0 or more",
        )
    images = ImageSource(
        root=None if chosen.root is None else Path(chosen.root),
        host=chosen.label_studio,
        token=os.environ.get(TOKEN, ""),
        servers=chosen.servers,
        max_bytes=int(chosen.max_megabytes * 2**20),
        timeout=chosen.timeout,
    )
    segment = SegmentSettings(**{field.name: getattr(chosen, field.name) for field in fields(SegmentSettings)})
    masks = WordMasks(segment, backbone=backbone, recordings=chosen.recordings)
    return LabelStudioBackend(
        masks, images, control=chosen.control, tolerance=chosen.tolerance, min_area=chosen.min_area
    )


def serve_label_studio(
    settings: LabelStudioSettings | None = None,
    *,
    backbone: Backbone | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the backend until it is interrupted; with `check` only see whether it can be served.

    Args:
        settings: all options
        backbone: a loaded one, in place of the settings'
        say: is given the address, once requests are answered

    Raises:
        UserError: for settings and weights that cannot be used, and for a port that is taken
    """
    chosen = checked_settings(settings, LabelStudioSettings())
    app = create_app(label_studio_backend(chosen, backbone=backbone))
    try:
        server = make_server(chosen.address, chosen.port, app, threaded=True)
    except (OSError, OverflowError, SystemExit) as problem:
        raise UserError(
            f"nothing can be served at {chosen.address}:{chosen.port}", fix="give another port or address"
        ) from problem
    with server:
        say(f"Label Studio backend: http://{chosen.address}:{server.server_port}")
        if not chosen.check:
            server.serve_forever()
