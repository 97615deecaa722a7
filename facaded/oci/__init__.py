"""The registry protocol, without I/O: requests, errors, challenges and the clients that speak it."""
