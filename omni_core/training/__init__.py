"""Turns data into weights."""
