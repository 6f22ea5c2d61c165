"""Other decoders of JPEGs than Pillow: which there are, and each in a module of its own.

A worker hands the bytes of a JPEG that they can be trusted with to the process of the network
(:mod:`bottleneck.images.plain_jpeg`); there they are decoded, many at a time, and drawn by PyTorch
(:mod:`bottleneck.images.decoders.drawing`), both on the GPU if there is one. Everything else is
decoded as ever.
"""
