"""The optimizers: one file each, named as the operator names it."""
