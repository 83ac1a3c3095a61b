"""Sharper masks without training: each file has one function from class scores to better class scores.

scores are float [B, K, h, w], one map per class; an image is float [B, 3, H, W] in 0..1, of any size.

               reads                      gives
absence        scores                     scores          absent classes removed
attention      scores, image queries/keys scores          spread along the model's own self-attention
pamr           scores, image              [B, K, H, W]    spread among neighbours of similar colour
guided_filter  scores, image              [B, K, H, W]    edges of the image, from a coarse grid
superpixels    scores, image              [B, K, H, W]    one class per patch of even colour
sam            scores, image              [B, K, H, W]    masks of a promptable segmenter, asked at the maps' parts
background     scores                     scores          pixels with low probabilities become background

`steps.py` runs them by name, between a predictor's maps and the mask.
"""
