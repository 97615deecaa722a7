"""Registry clients: content requests, health checks, and the watch that runs them."""
