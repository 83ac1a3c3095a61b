"""The method: record a stock diffusion transformer once, then ask the recording where each concept is.

ConceptAttention (Helbling et al., ICML 2025, section 4) adds concept tokens to the transformer. They attend to
themselves and to the image; nothing attends to them:

          attends to ->   prompt   concept   image
            prompt          x         .        x
            concept         .         x        x
            image           x         .        x

So the image does not depend on the concepts, and the work splits into two ordinary forward passes:

    record   (image, prompt)          -> keeps the image's keys, values and attention outputs of every layer
    ask      (one dummy, concepts)    -> every attention gets [concepts, recorded image keys and values]
"""
