"""From images to the feature maps that a head learns on."""
