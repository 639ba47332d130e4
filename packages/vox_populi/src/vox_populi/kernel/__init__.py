"""The training kernels; none imports another."""
