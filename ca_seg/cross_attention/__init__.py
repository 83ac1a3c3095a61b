"""Cross-attention models: U-Nets and transformers that attend to their text in a separate attention, `attn2`.

    image tokens ──► attn1 (image to image) ──► attn2 (image to text) ──► feed forward      one block
                                                  │ softmax(q k / sqrt(d)) over the words of the prompt
                                                  └──► a map per layer, head and word, on the grid of the layer

Stable Diffusion 1.5, 2 and XL, PixArt-Sigma, Sana, Wan, LTX-Video, LTX-2 and Kandinsky 5 are such models. Their words
never attend to the image, so a concept has no attention output: the output space of ConceptAttention does not exist
here. What exists is the query of each image token times the key of each word, and the image's own attention output.

    record     one noised copy of a picture ──► queries and keys of every layer     `recording.py`
    ask        another text ──► its keys, at the recorded queries                   `recording.py`
    trace      every step of a generation by the stock pipeline                     `trace.py`

No block is copied: the stock modules run, their attention kernel is intercepted (`ca_seg/concept/tap.py`), and the
arguments of a call are those that the stock pipeline itself gives (`stock_call.py`).
"""
