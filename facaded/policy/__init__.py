"""Decisions, without I/O and with the time passed in: how to answer, backend health, failover."""
