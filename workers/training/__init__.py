"""Training: a lab's own data in, a model of the registry out. `sciqueue train` is its command."""
