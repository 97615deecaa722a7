"""The settings: a TOML file and the environment as frozen classes, with every mistake reported at once."""
