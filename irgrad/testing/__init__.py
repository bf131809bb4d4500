"""Checks that users run on their own functions."""

from .bisection import Bisection, bisect
from .gradients import check_grads

__all__ = ["Bisection", "bisect", "check_grads"]
