"""What to do, without I/O and with the time handed in: answers, health, failover."""
