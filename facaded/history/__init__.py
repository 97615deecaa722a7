"""The history: changes, requests a minute and pulls, in an SQLite file that outlives restarts."""
