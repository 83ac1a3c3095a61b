"""`ca-seg parts PHOTO ...`: one's own images, without words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ca_seg.cli.parser import JobParser, settings_of
from ca_seg.cli.segment import check_one_class_list, check_outputs_of_images, say, status, write, written_so_far
from ca_seg.cli.stopping import when_stopped
from ca_seg.data.inputs import open_images
from ca_seg.errors import UserError
from ca_seg.jobs.arguments import check_folder
from ca_seg.jobs.parts import PartSegmenter, PartsSettings
from ca_seg.jobs.segmentation_files import DEFAULT_FORMATS

DESCRIPTION = (
    "Segment images without words: ca-seg parts PHOTO ... PHOTO is a file, a folder, a glob in quotes or - for "
    "standard input. Parts are named by the words that fit them best, where it is known what training taught."
)


@dataclass(frozen=True)
class PartsCommand(PartsSettings):
    """Options of `ca-seg parts`.

    Args:
        cutout: names of parts whose pixels are also written as transparent PNGs
        instances: also write the connected parts of each part, numbered: a 16-bit PNG and a JSON
        formats: what is written: overlay, mask, heatmaps, json, and any label format
        json: print one JSON object per image in place of text
        out: the folder of the files
    """

    cutout: tuple[str, ...] = ()
    instances: bool = False
    formats: tuple[str, ...] = tuple(name for name in DEFAULT_FORMATS if name != "heatmaps")
    json: bool = False
    out: str = "out/parts"


def run(arguments: Sequence[str]) -> int:
    """0 when every image was parted, 1 when some were skipped."""
    command, paths = JobParser("ca-seg parts", DESCRIPTION, PartsCommand).parse_with_positional(arguments)
    if not paths:
        raise UserError("no image was given", allowed="a file, a folder, a glob in quotes, or -")
    images = open_images(paths)  # a missing file ends it here, before the backbone is loaded
    check_folder(command.out)
    check_outputs_of_images(command, paths)
    if command.named or command.count is None:
        check_one_class_list(command, paths, "leave it out, or number the parts: --no-named --count 4")
    parter = PartSegmenter(settings_of(command, PartsSettings))
    say(parter.decision)
    failed: list[UserError] = []
    count = 0
    with when_stopped(lambda: written_so_far(count, command)):
        for segmentation in parter.each(images, failed.append):
            write(segmentation, command)
            count += 1
    return status(failed, count)
