"""Beyond frozen features: a backbone and a head as one network, to deploy, to train, to watch."""
