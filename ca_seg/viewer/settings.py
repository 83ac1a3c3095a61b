"""The options of the viewer."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ca_seg.errors import OutOfRange
from ca_seg.jobs.segmenter import SegmentSettings


@dataclass(frozen=True)
class ViewSettings(SegmentSettings):
    """Options of the viewer. Those of `segment` are what the page's controls begin with.

    Args:
        concepts: the words that the page begins with
        host: the address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 the whole network
        port: the port to listen on; 0 is any that is free
        browser: open the page in the browser
        max_megapixels: the largest picture
        max_words: the most words of one question
        max_frames: the most frames of a video
        max_recordings: the most recordings that one tab keeps
        max_memory: GiB of recordings that one tab keeps
        max_tabs: the most open tabs; where there are more, the one that was used least recently is forgotten
    """

    concepts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 7860
    browser: bool = True
    max_megapixels: float = 24.0
    max_words: int = 100
    max_frames: int = 300
    max_recordings: int = 8
    max_memory: float = 1.0
    max_tabs: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port <= 65535:
            raise OutOfRange(f"port {self.port}", allowed="0 to 65535; 0 is any that is free")
        for name in (field.name for field in fields(self) if field.name.startswith("max_")):
            if not getattr(self, name) > 0:
                raise OutOfRange(f"{name} is {getattr(self, name)}", allowed="more than 0")
