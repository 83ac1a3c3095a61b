"""The word table: several thousand nouns as vectors of a frozen MiniLM."""
