"""Answers the challenges of a CA in all processes, because it may ask any of them."""

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from facaded.tls.challenges import Challenges
from facaded.tls.server_certificate import PrivateKey
from facaded.workers.process_channel import Message, Tell

CHALLENGE, OPERATOR_CHALLENGE = "challenge", "operator challenge"
"""The kinds of message with an answer: of the daemon's own orders, and of an operator's tests."""


class SharedChallenges(Challenges):
    """Answers challenges here and, by `broadcast`, in all workers, in messages of a `kind`.

    See `Challenges` for `others`.
    """

    def __init__(self, broadcast: Tell, kind: str, others: Challenges | None = None) -> None:
        super().__init__(others)
        self._broadcast = broadcast
        self._kind = kind
        self._messages: dict[tuple[str, str, bool], Message] = {}

    def greet(self, send: Tell) -> None:
        """Tell a new worker the pending answers."""
        for message in self._messages.values():
            send(self._kind, message)

    def add_http(self, token: str, key_authorization: str) -> None:
        super().add_http(token, key_authorization)
        self._publish((token, "http", False), {"token": token, "answer": key_authorization})

    def remove_http(self, token: str) -> None:
        super().remove_http(token)
        self._withdraw("http", token, {"token": token, "answer": None})

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        super().add_alpn(name, chain_pem, key)
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
        is_rsa = "RSA" in type(key).__name__
        self._publish((name, "alpn", is_rsa), {"name": name, "chain": chain_pem.decode("ascii"), "key": key_pem})

    def remove_alpn(self, name: str) -> None:
        super().remove_alpn(name)
        self._withdraw("alpn", name, {"name": name, "chain": None})

    def _publish(self, key: tuple[str, str, bool], message: Message) -> None:
        self._messages[key] = message
        self._broadcast(self._kind, message)

    def _withdraw(self, kind: str, subject: str, message: Message) -> None:
        """Withdraw an answer that was published; `kind` and `subject` are what its messages are kept by."""
        published = [key for key in self._messages if key[:2] == (subject, kind)]
        for key in published:
            del self._messages[key]
        if published:
            self._broadcast(self._kind, message)
