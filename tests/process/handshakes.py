"""Connections to a daemon over TLS."""

import http.client
import socket
import ssl

from tests.process.daemon import Daemon
from tests.tls.authority import trusting

NAME = "docker.lab.test"


def connect(daemon: Daemon, context: ssl.SSLContext, name: str = NAME) -> ssl.SSLSocket:
    """Connect, and verify `name` if the context verifies names."""
    return context.wrap_socket(socket.create_connection((daemon.host, daemon.https), 10), server_hostname=name)


def ask(
    daemon: Daemon, path: str, context: ssl.SSLContext, host: str = NAME, name: str = NAME
) -> tuple[int, dict[str, str], bytes]:
    with connect(daemon, context, name) as tls:
        tls.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: containerd/2.1.9\r\nConnection: close\r\n\r\n".encode()
        )
        answer = http.client.HTTPResponse(tls)
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read()


def served_certificate(daemon: Daemon) -> bytes:
    with connect(daemon, trusting()) as tls:
        certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate
