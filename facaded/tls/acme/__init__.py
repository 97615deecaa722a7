"""Certificates without help: a client of RFC 8555 (ACME), its schedule, and what it keeps.

`service.Acme` is all that the daemon makes: from `settings.Settings`, something that answers challenges
(`challenges.Responders`), and how CAs are reached (`wire.connect`).
"""
