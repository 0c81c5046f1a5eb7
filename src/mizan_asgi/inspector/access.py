"""Who may look at the inspector, and where it is refused.

It shows parameters of calls, which may be personal, so only this machine is answered unless `Inspector` says otherwise.
A web page elsewhere can make a browser on this machine ask (by a name that resolves to a loopback address, or where the
host's CORS headers let it read), and a proxy on this machine asks for anybody: each of these is refused too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.types import Scope

from mizan_core.errors import DeclarationError, Forbidden

from ..http.cross_site import check_same_site
from ..http.sent_headers import SentHeaders

_LOOPBACK = ("127.0.0.0/8", "::1/128")

# Headers that proxies add.
_FORWARDING = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")

_Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Inspector:
    """What `Mizan(inspector=...)` allows beside a development server on this machine.

    `several_workers`: serve it although a server starts several processes, each of which shows what it did itself.
    `clients`: the networks of the clients that are answered, such as `["172.16.0.0/12"]` for a container; if left out,
    this machine, and no request that a proxy passed on. `hosts`: names under which it may be asked for, beside
    `localhost` and addresses. Raises `DeclarationError` for a network that is none.
    """

    several_workers: bool = False
    clients: Sequence[str] | None = None
    hosts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.clients, str) or isinstance(self.hosts, str):
            raise DeclarationError("Inspector takes lists of clients and of hosts, not one text.")
        _networks(self.clients or ())

    def check_workers(self, *, several: bool) -> None:
        """Raise `DeclarationError` where a server starts several processes, which is a sign of production."""
        if several and not self.several_workers:
            raise DeclarationError(
                "inspector=True, and the server was told to start several workers: that looks like production, and "
                "the inspector is for development. Leave it out there. Where it is wanted all the same, pass "
                "inspector=Inspector(several_workers=True) (from mizan_asgi.inspector); it shows one worker's calls."
            )


class Access:
    """The checks of one request for the inspector."""

    def __init__(self, options: Inspector) -> None:
        self._networks = _networks(_LOOPBACK if options.clients is None else options.clients)
        self._takes_forwarded = options.clients is not None
        self._hosts = frozenset(host.lower() for host in options.hosts)

    def check(self, scope: Scope, *, reads: bool) -> None:
        """Raise `Forbidden` for a client that may not look. `reads`: the answer tells of calls."""
        headers = SentHeaders(scope)
        if not self._takes_forwarded and any(headers.all(name) for name in _FORWARDING):
            raise Forbidden(
                "A proxy passed this request on, and the inspector answers to this machine alone. "
                "Inspector(clients=[...]) names the networks that may look."
            )
        client = (scope.get("client") or ("",))[0]
        address = _address(client)
        if address is None or not any(address in network for network in self._networks):
            raise Forbidden(
                f"The inspector does not answer to {client or 'a client without an address'}. "
                "Inspector(clients=[...]) names the networks that may look."
            )
        if not self._is_known_host(headers.all(b"host")):
            raise Forbidden(
                "The inspector is asked for as localhost or by an address. Inspector(hosts=[...]) allows other names."
            )
        if reads:
            check_same_site(headers, frozenset())

    def _is_known_host(self, hosts: Sequence[str]) -> bool:
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
        except ValueError:
            return False
        return name == "localhost" or name.endswith(".localhost") or name in self._hosts or _address(name) is not None


def _networks(named: Sequence[str]) -> list[_Network]:
    try:
        return [ip_network(one) for one in named]
    except ValueError as error:
        raise DeclarationError(f"Inspector(clients=...) takes networks such as '172.16.0.0/12': {error}.") from None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
