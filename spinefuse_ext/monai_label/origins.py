"""Which pages may talk to the server: its own, and those whose addresses were named when it started.

A browser sends requests for any page that somebody opens, so a server that asks nobody who they are has to ask where a
request comes from. Programs such as 3D Slicer send no ``Origin`` and are let through.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping, Sequence
from functools import cache

from spinefuse_ext.printable import printable
from spinefuse_ext.validation import ConfigError

#: The environment variable by which the server knows them; MONAI Label 0.8.5 does not start with any in its own.
ORIGINS = "SPINEFUSE_LABEL_ORIGINS"
_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?")


def origin_list(origins: str | Sequence[str]) -> list[str]:
    """Return the origins of a list, or of a text with commas between them, each as browsers write it.

    Raises:
        ConfigError: one that is no ``http://NAME`` or ``https://NAME``, with a port or without; ``*`` above all.
    """
    listed = origins.split(",") if isinstance(origins, str) else [str(origin) for origin in origins]
    cleaned = [origin.strip().rstrip("/").lower() for origin in listed if origin.strip()]
    for origin in cleaned:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"--origins cannot hold {printable(origin, keep='')}; give the addresses of the pages that may use "
                "the server, such as http://viewer.hospital.org:3000, with commas between them."
            )
    return cleaned


def started_for(arguments: Sequence[str]) -> bool:
    """Tell whether a command line of MONAI Label names the address to listen on; by itself it takes every network."""
    return any(argument.partition("=")[0] in ("--host", "-i") for argument in arguments)


def outside(address: str | None) -> str | None:
    """Return why a server that was told no address answers nobody at ``address`` of its own, None for loopback."""
    try:
        local = address is None or ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:  # a socket of this computer
        local = True
    return None if local else "This server answers this computer alone; start it with --host to open it to a network."


def refusal(headers: Mapping[str, str], origins: Collection[str]) -> str | None:
    """Return why a request with these headers, by lower-case name, is not answered, or None when it is.

    The ``Host`` must be this computer: a name that somebody else points here makes any page look like the server's own.
    """
    host = headers.get("host", "").lower()
    if host and not _is_here(host, origins):
        return (
            f"This server does not answer to the name {printable(host, keep='')}; open it by its address, or start it "
            "with --origins and the address that is used."
        )
    origin = headers.get("origin", "").lower()
    if origin and origin not in origins and origin.partition("://")[2] != host:
        return (
            f"A page of {printable(origin, keep='')} may not use this server; if it shall, start it with --origins and "
            "that address."
        )
    return None


def _is_here(host: str, origins: Collection[str]) -> bool:
    if any(origin.partition("://")[2] == host for origin in origins):
        return True
    name = re.sub(r":\d+$", "", host).removeprefix("[").removesuffix("]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in _own_names()
    return True


@cache
def _own_names() -> frozenset[str]:
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})
