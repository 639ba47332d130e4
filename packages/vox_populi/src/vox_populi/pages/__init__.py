"""Reports as HTML pages: one file, nothing loaded from elsewhere."""
