"""Videos: frames of a file or folder, and clips in the DAVIS layout."""
