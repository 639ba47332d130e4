"""Reports as HTML pages: one file, no script, nothing loaded from elsewhere."""
