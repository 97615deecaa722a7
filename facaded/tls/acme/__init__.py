"""Certificates without help: a client of RFC 8555 (ACME), its schedule, and what it keeps."""
