"""The registry protocol, without I/O: requests, errors, challenges, indexes and client families."""
