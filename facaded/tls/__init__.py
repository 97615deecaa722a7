"""TLS: where certificates come from, and which one each client gets."""
