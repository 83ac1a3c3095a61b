"""Published settings of reading maps, by name and card.

    paper         what the paper says that reads this model: ConceptAttention (Helbling et al., ICML 2025, section 5)
                  FLUX.1-schnell, Seg4Diff (Kim et al., NeurIPS 2025) Stable Diffusion 3 medium
    reference     what public code does: that of ConceptAttention with several classes, FLUX.1-schnell on VOC
                  (`experiments/pascal_voc_segmentation/multi_class_segmentation.py`), SD3.5 in `sd3/segmentation.py`;
                  that of IMAP (Jun et al., CVPR 2026) CogVideoX and HunyuanVideo
    recommended   the card's own values; docs/models.md says what they were chosen on

Papers and code put the classes of the picture into the prompt, as `prompt: present` does. Presets never do, because
only evaluations have the ground truth. Seg4Diff reads the words of the prompt: there it is `all`, the words that are
asked.
"""

from __future__ import annotations

from typing import Any

from ca_seg.concept.choices import ALL
from ca_seg.errors import UnknownName, UserError

PRESETS = ("paper", "reference", "recommended")
SD3_EXPERT: dict[str, Any] = {"layers": (9,), "timesteps": (0.515,)}  # Seg4Diff: layer 9 of 24, noise step 8 of 28
# the layers in the scripts of IMAP, chosen by the second eigenvalue; of HunyuanVideo, layers of its double blocks
GRAMCOL_LAYERS = {
    "cogvideox-2b": (4, 6, 7, *range(10, 24)),
    "cogvideox-5b": (1, 2, 3, 4, 5, *range(7, 22), 23),
    "hunyuan-video": (1, 2, 4, 5, 6, 9, 10, 13, 15, 16, 17, 18, 19),
}

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
    "sd3-medium": {"paper": {**SD3_EXPERT, "reader": "seg4diff", "prompt": ALL}},
    **{name: {"reference": {"layers": layers, "reader": "gramcol"}} for name, layers in GRAMCOL_LAYERS.items()},
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
