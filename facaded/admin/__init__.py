"""The operator's interfaces to the running daemon: the admin listener and the control socket."""
