"""The open tabs, and what each of them shows."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ca_seg.errors import UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.viewer.answer import Answer
from ca_seg.viewer.controls import Controls
from ca_seg.viewer.generation import GenerationStep
from ca_seg.viewer.session import Session
from ca_seg.viewer.settings import ViewSettings


class Tab:
    """One open tab of a browser, or one client of the HTTP interface.

    Args:
        start: the settings that the page begins with
        session: its photographs and recordings
    """

    def __init__(self, start: ViewSettings, session: Session) -> None:
        self.start, self.session = start, session
        self.controls, self.words = Controls.of(start), start.concepts
        self.followed: Any = None  # the photograph, words and controls that the page was last followed in
        self.answer: Answer | None = None  # what is shown
        self.isolated: str | None = None  # the class that is shown alone
        self.steps: list[GenerationStep] = []  # of the last generation
        self.clip: Path | None = None  # the overlay of the last video

    @property
    def settings(self) -> SegmentSettings:
        """What the controls say. Raises as `Controls.settings`."""
        return self.controls.settings(self.start, self.start.max_words)

    def shown(self) -> Answer:
        """What is shown. Raises UserError where nothing is."""
        if self.answer is None:
            raise UserError("nothing is shown", fix="give a picture and words first")
        return self.answer

    def close(self) -> None:
        """Frees everything."""
        self.answer, self.steps, self.clip = None, [], None
        self.session.close()


class Tabs:
    """The open tabs, by their identifier. Safe to use from several threads.

    Args:
        start: the settings that pages begin with; of more than `max_tabs` the least recently used tab is closed
        places: as in `open_picture`
        folder: where the tabs' folders are
    """

    def __init__(self, start: ViewSettings, places: Mapping[str, Path], folder: Path) -> None:
        self.start, self.places, self.folder = start, places, folder
        self._open: OrderedDict[str, Tab] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def of(self, identifier: str) -> Tab:
        """A tab, a new one at its first use."""
        with self._lock:
            if identifier not in self._open:
                folder = Path(tempfile.mkdtemp(dir=self.folder))
                self._open[identifier] = Tab(self.start, Session(self.start, self.places, folder))
            self._open.move_to_end(identifier)
            while len(self._open) > self.start.max_tabs:
                self._open.popitem(last=False)[1].close()
            return self._open[identifier]

    def close(self, identifier: str) -> None:
        """Frees what a tab has; nothing where it has nothing."""
        with self._lock:
            tab = self._open.pop(identifier, None)
        if tab is not None:
            tab.close()

    def close_all(self) -> None:
        """Frees what all tabs have."""
        for identifier in list(self._open):
            self.close(identifier)
