"""One look inside: a compiled function as one HTML page that needs nothing else."""

from .page import page_text

__all__ = ["page_text"]
