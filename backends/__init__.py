"""Backends that turn kernels into running code; importable as irgrad.backends alone."""

if __name__ != "irgrad.backends":
    raise ImportError(
        f"{__name__}: expected this package to be imported as irgrad.backends; install irgrad with "
        "pip (pip install -e . for a checkout) and import irgrad.backends"
    )
