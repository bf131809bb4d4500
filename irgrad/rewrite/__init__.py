"""Rewriting: patterns, rules as data, and the drivers that apply them."""
