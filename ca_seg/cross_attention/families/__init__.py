"""One file for each kind of stock pipeline whose denoiser attends to text in a separate attention."""
