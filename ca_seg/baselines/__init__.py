"""What any method must beat: maps that know nothing of the picture, behind the backbone's interface."""
