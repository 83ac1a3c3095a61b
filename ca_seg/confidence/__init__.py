"""How certain a prediction is at each pixel: measures, temperature, thresholds, and how they are fitted."""
