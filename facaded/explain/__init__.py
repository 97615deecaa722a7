"""Explanations: how each request of a pull is answered, and why."""
