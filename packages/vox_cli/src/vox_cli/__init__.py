"""The `vox` command."""
