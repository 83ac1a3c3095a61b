"""From maps or features to a decision: zero-shot argmax, and trained heads."""
