"""The jobs of the project on photographs: zero-shot, heads, and a student of labels made from words."""
