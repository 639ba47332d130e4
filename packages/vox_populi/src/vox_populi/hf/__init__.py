"""Model folders as files: config, headers, inventory, key maps."""
