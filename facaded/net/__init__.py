"""What everything that talks to the network shares: a bounded HTTP client, names and addresses, and bounded memory.

Nothing here knows of registries, rules or certificates.
"""
