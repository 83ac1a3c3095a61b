"""Options that a job does not read: a value that is given would be ignored, so it is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from ca_seg.errors import UserError
from ca_seg.predictors.settings import BackboneSettings


def refuse_without_effect(
    settings: BackboneSettings, names: Iterable[str], job: str, *, prefix: str = "model."
) -> None:
    """Raises UserError for an option that is not at its default.

    Args:
        settings: before a preset is filled in, where `names` has "preset"
        names: the options that the job does not read
        job: what to call the job in the message
        prefix: of the options where the user gives them
    """
    default = {field.name: field.default for field in fields(BackboneSettings)}
    for name in names:
        value = getattr(settings, name)
        if value != default[name]:
            what = f"{prefix}{name} is {value!r:.60}, and has no effect on {job}"
            raise UserError(what, fix=f"leave {prefix}{name} out")
