"""Where backbones come from, a module each; see :mod:`bottleneck.backbones.registry`."""
