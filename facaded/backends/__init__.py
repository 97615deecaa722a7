"""Registry clients on treq: content requests, health checks, and the watch that runs them."""
