"""The method: record a stock diffusion transformer once, then ask the recording where each concept is.

The paper (ConceptAttention, ICML 2025, section 4) adds concept tokens to the transformer. They look at themselves and
at the image; nothing looks back:

            looks at ->   prompt   concept   image
            prompt          x         .        x
            concept         .         x        x
            image           x         .        x

So the image does not depend on the concepts, and the work splits into two ordinary forward passes:

    record   (image, prompt)          -> keeps the image's queries, keys, values and attention outputs per layer
    ask      (one dummy, concepts)    -> each attention sees [concepts, recorded image keys and values]
"""
