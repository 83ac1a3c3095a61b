"""Words to embeddings: the text encoders of stock pipelines, and the word table that ships."""
