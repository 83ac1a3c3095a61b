"""Methods that read maps from the attention of a diffusion transformer: on any backbone of the zoo."""
