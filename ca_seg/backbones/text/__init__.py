"""Words to embeddings: text encoders of stock pipelines, and the shipped word table."""
