"""`python -m vox_cli`, for machines without the console script on the path."""

from __future__ import annotations

import sys

# `-m` puts the current folder first, where a file could shadow a module of ours or of Python's.
if not sys.flags.safe_path:
    sys.path.pop(0)

from vox_cli.app import main

main()
