"""What was asked: the contract, adapter roles, presets."""
