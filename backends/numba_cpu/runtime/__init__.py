"""Calling compiled code from Python."""
