"""Training: makes the weights that the package ships. Nothing in the rest of the package imports it."""
