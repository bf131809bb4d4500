"""Backend protocol and discovery, the cache, and the call boundary."""
