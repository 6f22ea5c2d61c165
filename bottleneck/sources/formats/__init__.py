"""Formats of files that hold images or name them; see :mod:`bottleneck.sources.kinds`."""
