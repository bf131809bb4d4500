"""The passes over graphs, one a file, and the pipeline that lists them in order."""
