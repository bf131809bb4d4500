"""Tracer values, source capture and argument trees."""
