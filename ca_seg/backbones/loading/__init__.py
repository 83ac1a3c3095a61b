"""From a card to loaded weights: where they are, which blocks are read, in which precision, what memory they take."""
