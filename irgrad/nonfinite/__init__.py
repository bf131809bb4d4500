"""NaN tracing: compiled functions whose results are looked at, and the search for what made a NaN.
"""

from .watching import Subject, WatchedExecutable

__all__ = ["Subject", "WatchedExecutable"]
