"""Talking to clients, with twisted.web."""
