"""Speaking TLS: certificates, where they come from, and which of them a client is shown."""
