"""Speaking TLS: certificates, and how they are got."""
