"""The live viewer: a local web page on which words are typed, and masks follow.

settings     the options                       limits      what is refused
picture      an uploaded file                  recordings  kept passes of photographs, bounded
session      what one tab has                  backbones   loaded models, and whether one fits
controls     the page's controls as settings   answer      words and a recording to a segmentation
pixel, strip, comparison, generation, clip     what is read from them
html, command, export                          what is shown and saved
page, events, style, server                    the page itself; only these import gradio
"""
