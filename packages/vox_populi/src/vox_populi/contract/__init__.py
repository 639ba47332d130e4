"""The request: the contract, adapter roles, presets."""
