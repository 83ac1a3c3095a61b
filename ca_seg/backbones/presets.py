"""Published settings of reading maps, by name and card.

    paper         what the ConceptAttention paper says (Helbling et al., ICML 2025, section 5)
    reference     what its public code does with several classes: FLUX.1-schnell on VOC
                  (`experiments/pascal_voc_segmentation/multi_class_segmentation.py`), SD3.5 in `sd3/segmentation.py`
    recommended   the card's own values; what they were chosen on stands on the card

Paper and code put the classes of the picture into the prompt, as `prompt: present` does. Presets leave the prompt
alone, because only evaluations have the ground truth.
"""

from __future__ import annotations

from typing import Any

from ca_seg.errors import UnknownName, UserError

PRESETS = ("paper", "reference", "recommended")

_PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "flux1-schnell": {
        "paper": {"layers": tuple(range(9, 19)), "timesteps": (0.5,), "noise_samples": 1},
        "reference": {
            "layers": (14, 15, 16, 17),
            "timesteps": (0.25,),  # step 3 of 4
            "noise_samples": 1,
            "normalise": "concepts",
            "softmax": False,
        },
    },
    "sd3.5-large-turbo": {
        "reference": {
            "layers": tuple(range(38)),
            "timesteps": (0.602,),  # the last but one of 4 steps
            "noise_samples": 1,
            "normalise": "concepts",
            "image_output": "concepts",
        },
    },
}


def preset_options(preset: str, backbone: str) -> dict[str, Any]:
    """The options of a preset for a backbone of the zoo, by name of the field of `ReadoutConfig`.

    Raises:
        UnknownName: for an unknown preset
        UserError: for a backbone that nobody published these settings of
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if preset == "recommended":
        return {}
    options = _PUBLISHED.get(backbone, {}).get(preset)
    if options is None:
        known = [name for name, presets in _PUBLISHED.items() if preset in presets]
        raise UserError(
            f"there are no settings {preset!r} of {backbone}", allowed=", ".join(known), fix="take 'recommended'"
        )
    return options
