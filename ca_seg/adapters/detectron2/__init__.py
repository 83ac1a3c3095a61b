"""ca_seg in detectron2: a backbone and a pyramid by config, datasets by name (docs/detectron2.md).

    from ca_seg.adapters.detectron2.config import add_ca_seg_config, register

    cfg = get_cfg()
    add_ca_seg_config(cfg)                              # the keys under MODEL.CA_SEG
    cfg.MODEL.BACKBONE.NAME = "build_ca_seg_pyramid"    # or build_ca_seg_backbone

Importing this file is what puts both builders into BACKBONE_REGISTRY, as detectron2's own do.
"""
