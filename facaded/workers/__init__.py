"""Several processes that answer clients: the first one, which does everything else too, and its workers.

All of them listen on the same addresses. The first process starts the workers, and hands them what it knows over a Unix
socket; they report what they find. See `worker_pool` for the first process, and `link` for the workers.
"""
