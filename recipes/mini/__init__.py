"""How the shipped mini backbone and the shipped scenes were made: data, words, training, export."""
