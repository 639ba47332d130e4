"""Writing and caching 4-bit model folders."""
