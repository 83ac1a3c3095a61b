"""The photographs, recordings and files of one tab. No tab sees those of another."""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from ca_seg.viewer.picture import Picture, open_picture
from ca_seg.viewer.recordings import GIB, Recordings
from ca_seg.viewer.settings import ViewSettings

MAX_PICTURES = 4  # decoded at the same time in one tab


class Session:
    """Of one tab.

    Args:
        settings: the limits
        places: as in `open_picture`
        folder: where the tab's files are written; it is removed when the tab is closed
    """

    def __init__(self, settings: ViewSettings, places: Mapping[str, Path], folder: Path) -> None:
        self.settings, self.places, self.folder = settings, places, folder
        self.recordings = Recordings(settings.max_recordings, settings.max_memory * GIB)
        self._pictures: OrderedDict[Path, Picture] = OrderedDict()

    def picture(self, path: str | Path) -> Picture:
        """The photograph in an uploaded file. Raises as `open_picture`."""
        path = Path(path)
        if path not in self._pictures:
            self._pictures[path] = open_picture(path, self.settings.max_megapixels, self.places)
        self._pictures.move_to_end(path)
        while len(self._pictures) > MAX_PICTURES:
            self._pictures.popitem(last=False)
        return self._pictures[path]

    def has(self, path: str | Path) -> bool:
        """Whether the photograph in a file is decoded, and so can be shown."""
        return Path(path) in self._pictures

    def new_folder(self) -> Path:
        """An empty folder for files to download."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self.folder))

    def close(self) -> None:
        """Frees everything."""
        self.recordings.clear()
        self._pictures.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
