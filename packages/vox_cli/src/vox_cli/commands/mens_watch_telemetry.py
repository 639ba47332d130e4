"""`vox mens watch-telemetry`: the source system's name of `vox mens watch`."""

from __future__ import annotations

from vox_cli.commands.mens_watch import watch as watch_telemetry

__all__ = ["watch_telemetry"]
