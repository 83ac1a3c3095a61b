"""Former names of options and former values: still read, with one line on stderr that says the present name."""

from __future__ import annotations

import sys
from typing import Any

from ca_seg.errors import UserError

FORMER = {  # former names, of options and of the keys of config files
    "model.samples": "model.noise_samples",
    "model.heads": "model.per_head",
    "samples": "noise_samples",
    "heads": "per_head",
    "timestep": "timesteps",
    "grid.samples": "grid.noise_samples",
    "keeping.keep": "checkpoint.keep",
    "keeping.patience": "checkpoint.patience",
    "keeping.tensorboard": "checkpoint.tensorboard",
    "least_pixels": "min_pixels",
    "pictures": "images",
}
FORMER_VALUES = {  # former values by option
    ("data.name", "pictures"): "images",
    ("confidence", "max_share"): "max_probability",
    ("measure", "max_share"): "max_probability",
    ("model.loss_at", "picture"): "image",
    ("data.augment", "pictures"): "images",
}
ONE_PART = ("data.splits", "data.split")  # `splits: [val]` given to a command that looks at one part


def present_value(option: str, value: Any) -> Any:
    """The present value of an option; says so on stderr where it has changed."""
    if option == ONE_PART[1]:
        return _one_part(value)
    if not isinstance(value, str) or (option, value) not in FORMER_VALUES:
        return value
    note(f"{option} {value} is now {FORMER_VALUES[option, value]}")
    return FORMER_VALUES[option, value]


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _one_part(value: Any) -> Any:
    """The one part of `[val]` or ["val"]. Raises UserError for several."""
    parts = value.strip("[]").split(",") if isinstance(value, str) and value.startswith("[") else value
    if not isinstance(parts, list):
        return value
    if len(parts) != 1:
        raise UserError(f"{len(parts)} parts of the dataset", allowed="one", fix="give data.split a name")
    return str(parts[0]).strip().strip("\"'")
