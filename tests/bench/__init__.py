"""Programs that measure facaded in a process, by hand, with `python -m`.

`tests.bench.soak`: whether it keeps its level under load; `tests.bench.evidence`: what checks of registries cost;
`tests.bench.peers`: how fast it is beside Caddy, nginx, HAProxy and docker-registry.
"""
