"""Checks that users run on their own functions."""

from .gradients import check_grads

__all__ = ["check_grads"]
