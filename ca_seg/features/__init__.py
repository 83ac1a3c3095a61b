"""From pictures to the feature maps that a head learns on."""
