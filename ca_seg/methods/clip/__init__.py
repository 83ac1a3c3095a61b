"""Methods on CLIP: a transformers CLIPModel with its tokenizer, run as it is, with hooks."""
