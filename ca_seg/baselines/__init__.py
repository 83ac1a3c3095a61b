"""What any method must beat: maps that know nothing of the image, behind the backbone's interface."""
