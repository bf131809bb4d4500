"""Benchmarks against other libraries, one process and one core each, in interleaved rounds."""
