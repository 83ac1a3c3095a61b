"""How good a segmentation is: one confusion matrix, average precision, and the paper's own two-class figures."""
