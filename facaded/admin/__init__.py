"""What the operator sees of the running daemon: the admin listener and the control socket."""
