"""One look inside: objects in a notebook, and a compiled function as one HTML page, which need
nothing else."""

from .memory import plan_text
from .notebook import notebook_html
from .page import page_text

__all__ = ["notebook_html", "page_text", "plan_text"]
