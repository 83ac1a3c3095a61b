"""Sharper masks without training: each file one function from class scores to better class scores.

scores are float [B, K, h, w], one map per class; an image is float [B, 3, H, W] in 0..1, of any size.

             reads                      gives
absence      scores                     scores          which classes are in the image at all
attention    scores, image queries/keys scores          spread along the model's own self-attention
pamr         scores, image              [B, K, H, W]    spread among neighbours of like colour
guided_filter  scores, image            [B, K, H, W]    edges of the image, from a coarse grid
superpixels  scores, image              [B, K, H, W]    one vote per patch of even colour
background   scores                     scores          unsure pixels become background
views        images, a predictor        [B, K, H, W]    the mean over flipped, scaled and cut images
"""
