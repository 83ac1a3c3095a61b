"""Methods that predict class maps: images and a vocabulary in, one map per class out."""
