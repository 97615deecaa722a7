"""What to answer: one pure function of the request, the Host it was sent to, the rules, and who is in charge."""

import ipaddress
import re
from typing import TypeAlias

from attrs import field, frozen

from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Home, Ping, Read, Request
from facaded.policy.repositories import Pattern, listed

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{0,5}))?")


@frozen
class Rules:
    """The settings that decide answers.

    `hosts` are the names answered for, normalised by `host_name`; empty: any. `repositories` are the listed ones;
    empty: all. `backends` maps each backend's name to its URL, which has no path, preferred first.
    """

    hosts: tuple[str, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    backends: dict[str, str] = field(factory=dict)

    @property
    def order(self) -> tuple[str, ...]:
        """Who may be in charge, preferred first.

        The same name on two registries can belong to two people, so only listed repositories may be had from
        another backend than the first: with an empty list there is no failover.
        """
        names = tuple(self.backends)
        return names if self.repositories else names[:1]


@frozen
class Redirect:
    """307 to `location` on the named backend."""

    backend: str
    location: str


@frozen
class Pong:
    """200 and an empty JSON object: there is a registry here."""


@frozen
class Page:
    """The page for a person.

    `host` is one of the names answered for, with the port asked; empty if there is none to name.
    """

    host: str


Answer: TypeAlias = Redirect | Pong | Page | Refusal


def decide(request: Request | Refusal, host: str, rules: Rules, charge: str) -> Answer:
    """Say how to answer.

    `request` is what `oci.requests.parse` made of the bytes, `host` the Host header's value, `charge` the name of
    the backend in charge.
    """
    name, port = split_host(host)
    if rules.hosts and name not in rules.hosts:
        if isinstance(request, Ping) and _is_address(name):
            return Pong()
        return Refusal(
            421, Code.DENIED, "this registry does not answer for that host name: check the name in your image reference"
        )
    match request:
        case Refusal():
            return request
        case Home():
            return Page(_public_host(name, port, rules))
        case Ping():
            return _redirect(request, rules, charge)
        case _ if listed(rules.repositories, request.name):
            return _redirect(request, rules, charge)
        case _:
            return Refusal(
                403, Code.DENIED, f"{request.name} is not among the repositories that this registry answers for"
            )


def split_host(value: str) -> tuple[str, str]:
    """A Host header's name as hosts are compared (without case, final dot or brackets), and its port, which may be
    empty.

    What is not a host and a port has an empty name, which no setting can hold.
    """
    found = _HOST.fullmatch(value.strip())
    if not found:
        return "", ""
    return host_name(found[1].strip("[]")), found[2] or ""


def host_name(value: str) -> str:
    """A host name as it is compared: lower case, no final dot."""
    return value.lower().removesuffix(".")


def _redirect(request: Ping | Read, rules: Rules, charge: str) -> Redirect:
    query = f"?{request.query}" if request.query else ""
    return Redirect(charge, f"{rules.backends[charge]}{request.path}{query}")


def _public_host(name: str, port: str, rules: Rules) -> str:
    """A name for the page: never the asker's own words unless the settings hold the same."""
    if not rules.hosts:
        return ""
    shown = f"[{name}]" if ":" in name else name
    return f"{shown}:{port}" if port else shown


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
