"""Optimisers as pairs of plain functions over parameter trees, traced like any other code."""

from .optimiser import Optimiser
from .rules import adam, adamw, momentum, sgd

__all__ = ["Optimiser", "adam", "adamw", "momentum", "sgd"]
