"""Certificates without help: a client of RFC 8555 (ACME), its schedule, and what it keeps.

The daemon makes one `acme_client.AcmeClient`, from `settings.AcmeSettings`, what answers challenges
(`facaded.tls.challenges`), and how CAs are reached (`wire.CaNetwork`).
"""
