"""Datasets of images and masks: benchmarks, users' own formats, videos, batches, augmentation, the Lightning module."""
