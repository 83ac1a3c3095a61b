"""ca_seg in detectron2: a backbone and a pyramid by config, datasets by name (docs/detectron2.md).

    from ca_seg.adapters.detectron2 import add_ca_seg_config, register

    cfg = get_cfg()
    add_ca_seg_config(cfg)                              # the keys under MODEL.CA_SEG
    cfg.MODEL.BACKBONE.NAME = "build_ca_seg_pyramid"    # or build_ca_seg_backbone

Importing this package registers both builders in detectron2's BACKBONE_REGISTRY.
"""

from ca_seg.errors import UserError

try:
    import detectron2.modeling  # noqa: F401
except ImportError as problem:
    raise UserError(
        f"the adapter needs detectron2 ({problem})", fix="see docs/detectron2.md for how to install it"
    ) from problem

from ca_seg.adapters.detectron2.config import add_ca_seg_config, build_ca_seg_backbone, build_ca_seg_pyramid
from ca_seg.adapters.detectron2.data import register

__all__ = ["add_ca_seg_config", "build_ca_seg_backbone", "build_ca_seg_pyramid", "register"]
