"""How good a segmentation is: scores from one confusion matrix, average precision, calibration, boundaries, videos."""
