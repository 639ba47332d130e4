"""The version of this distribution, for manifests."""

__version__ = "0.1.0"
