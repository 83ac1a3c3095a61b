"""Whatever gives class maps: images and a vocabulary in, one map per class out."""
