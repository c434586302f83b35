"""One model's life on real data, told in chapters.

`calls` holds the data, `model` the model that the bank of the story trains, one module each
chapter, and `story` their order.
"""
