"""Speaking TLS: certificates, where they come from, and which is shown to whom."""
