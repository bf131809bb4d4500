"""The ops: one record for each, one file for each family, gathered in `registry.REGISTRY`."""
