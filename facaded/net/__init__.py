"""Shared network code: a bounded HTTP client, name resolution, address checks, and bounded maps.

This package does not depend on registries, routing rules or certificates.
"""
