"""Images and their masks: the folder format, the shipped scenes, batches, augmentation, the Lightning data module."""
