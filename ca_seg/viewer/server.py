"""Start the viewer: `ca_seg.view` and `ca-seg view`."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.data.inputs import open_images
from ca_seg.errors import UserError
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.segmenter import default_device
from ca_seg.optional import optional_imports
from ca_seg.resources import resource_path
from ca_seg.viewer.backbones import Backbones
from ca_seg.viewer.handlers import Handlers
from ca_seg.viewer.settings import ViewSettings
from ca_seg.viewer.style import CSS
from ca_seg.viewer.tab import Tabs

UPLOAD = 4  # bytes of a file per pixel of the largest picture; a file that is larger is not read


class Viewer:
    """A running viewer.

    Attributes:
        url: its address
    """

    def __init__(self, blocks: Any, url: str, tabs: Tabs, folder: Path) -> None:
        self.url, self.tabs = url, tabs
        self._blocks, self._folder = blocks, folder

    def wait(self) -> None:
        """Returns when the viewer is interrupted (Ctrl+C)."""
        self._blocks.block_thread()

    def close(self) -> None:
        """Stops the server, and frees everything."""
        self._blocks.close(verbose=False)
        self.tabs.close_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def view(
    photos: Any = (),
    words: Sequence[str] = (),
    *,
    backbone: str | Backbone | None = None,
    port: int | None = None,
    settings: ViewSettings | None = None,
) -> Viewer:
    """Start the live viewer, a local web page, and return while it runs.

    A photograph passes through the backbone once; words that are typed on the page afterwards follow in a fraction of
    that time. The masks are those of `ca_seg.segment`.

    Args:
        photos: paths of photographs to choose from, folders or globs; none: those that ship with ca_seg
        words: that the page begins with
        backbone: a name from `list_backbones()`, or a loaded backbone
        port: to listen on; 0 is any that is free
        settings: all other options

    Returns:
        The running viewer, with its `url`. `close()` stops it; in a `with` it is stopped at the end.

    Raises:
        UserError: for a port that is taken, words or options that cannot be used, weights that do not fit
        UnreadableImage: for a photograph that is missing
        MissingExtra: where gradio is not installed

    Example:
        >>> with ca_seg.view("photo.jpg", ["cat", "grass"]) as viewer:
        ...     print(viewer.url)
        ...     viewer.wait()
    """
    chosen = checked_settings(settings, ViewSettings())
    name = backbone.card.name if isinstance(backbone, Backbone) else backbone
    given: dict[str, Any] = {"backbone": name, "port": port, "concepts": tuple(words) or None}
    chosen = replace(chosen, **{key: value for key, value in given.items() if value is not None})
    with optional_imports("ca_seg.view", job="view"):
        import gradio as gr

        from ca_seg.viewer.page import Page
    pictures, given_pictures = _pictures(photos)
    number = free_port(chosen.host, chosen.port)
    backbones = Backbones(default_device(chosen.device))
    if isinstance(backbone, Backbone):
        backbones.put(chosen, backbone)
    else:
        print(backbones.estimate(chosen) + ".")
        backbones.load(chosen)
    folder = Path(tempfile.mkdtemp(prefix="ca_seg_view_"))
    tabs = Tabs(chosen, {path.stem: path for path in pictures.values()}, folder)
    page = Page(chosen, Handlers(backbones), tabs, pictures, opens_first=given_pictures)
    _, url, _ = page.blocks.launch(
        server_name=chosen.host,
        server_port=number,
        inbrowser=chosen.browser,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        show_error=True,
        max_file_size=int(UPLOAD * 1e6 * chosen.max_megapixels),
        enable_monitoring=False,
        ssr_mode=False,
        footer_links=["api"],
        css=CSS,
        theme=gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
    )
    return Viewer(page.blocks, url, tabs, folder)


def free_port(host: str, port: int) -> int:
    """The port, or any that is free for 0. Raises UserError for one that is taken, and for a host that is not here."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except PermissionError as problem:
            raise UserError(
                f"port {port} may not be used ({problem.strerror})", fix="give another: --port 7861"
            ) from problem
        except OSError as problem:
            raise UserError(
                f"port {port} of {host} cannot be used ({problem.strerror})",
                fix="give another: --port 7861, or --port 0",
            ) from problem
        return int(trial.getsockname()[1])


def _pictures(photos: Any) -> tuple[dict[str, Path], bool]:
    """The photographs to choose from by the name that is shown, and whether the user gave them."""
    if photos is None or (isinstance(photos, list | tuple) and not photos):
        folder = resource_path("datasets", "photographs", "images")
        return {path.name: path for path in sorted(folder.glob("*.jpg"))}, False
    paths = {image.image_id: image.path for image in open_images(photos)}
    existing = {name: path for name, path in paths.items() if path is not None}
    if len(existing) < len(paths):
        raise UserError("one of the photographs is not a file", allowed="paths of photographs, folders or globs")
    return existing, True
