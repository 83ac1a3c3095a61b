"""The methods of the field behind one interface: a card, real weights or a ready model, and class maps."""
