"""Training a segmentation head on frozen features with the trainer, head and evaluator of detectron2."""
