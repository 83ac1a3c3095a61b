"""From images to the feature maps that a head is trained on, computed or read from disk."""
