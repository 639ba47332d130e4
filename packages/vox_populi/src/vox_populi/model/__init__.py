"""The transformer of every full graph, with and without adapters."""
