"""Automatic certificates: an ACME client (RFC 8555), its renewal schedule, and its files.

The daemon creates one `acme_client.AcmeClient` from `settings.AcmeSettings`, the responder that answers challenges
(`facaded.tls.challenges`), and the network of CAs (`wire.CaNetwork`).
"""
