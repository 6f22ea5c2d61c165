"""Networks that are built here, layer by layer, and what they are built of."""
