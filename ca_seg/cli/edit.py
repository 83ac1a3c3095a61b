"""`ca-seg edit PHOTO --replace cat --by "a dog"`: change what words name in one photograph."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ca_seg.cli.parser import JobParser, settings_of
from ca_seg.data.inputs import open_images
from ca_seg.errors import UserError
from ca_seg.jobs.arguments import check_folder
from ca_seg.jobs.edit import Editor
from ca_seg.jobs.edit_settings import EditSettings
from ca_seg.jobs.edited_image import check_overwriting, output_path

EXAMPLE = 'ca-seg edit photo.jpg --replace cat --by "a dog"'
DESCRIPTION = (
    f"Change what words name in one photograph: {EXAMPLE}. Outside the edited region every pixel stays as it is. "
    "Writes the mask, an overlay of it, and the edited photograph."
)


@dataclass(frozen=True)
class EditCommand(EditSettings):
    """Options of `ca-seg edit`.

    Args:
        out: the folder of the files
    """

    out: str = "out/edit"


def run(arguments: Sequence[str]) -> int:
    """0 when the files are written."""
    parser = JobParser("ca-seg edit", DESCRIPTION, EditCommand)
    command, positional = parser.parse_with_positional(arguments)
    if len(positional) != 1:
        what = "several photographs are given" if positional else "no photograph is given"
        raise UserError(what, allowed="one, in front of the options", fix=f"an example: {EXAMPLE}")
    images = list(open_images(positional[0]))  # a missing file ends it here, before anything is loaded
    if len(images) != 1:
        raise UserError(f"{positional[0]} holds {len(images)} images", allowed="one photograph")
    check_folder(command.out)
    files = tuple(path for path in (images[0].path, command.mask and Path(command.mask)) if path)
    names = ("overlay", "edited")
    check_overwriting([output_path(command.out, images[0].image_id, name) for name in names], files)
    settings = settings_of(command, EditSettings).with_preset()
    editor, card = Editor(settings, mask=settings.mask), settings.card()
    if editor.shares_backbone and settings.paints and card.folder:
        print(f"{card.name} is a small model and a weak generator: docs/edit.md shows what it paints", file=sys.stderr)
    result = editor(images[0])
    paths = result.save(command.out, inputs=files)
    painted = f", painted {result.prompt!r}" if result.prompt else ""
    print(f"{result.image_id}: {result.words} {100 * result.mask.mean():.1f} %{painted}; {paths[-1]}")
    return 0
