"""Training a segmentation head on frozen features with detectron2's own trainer, head and evaluator."""
