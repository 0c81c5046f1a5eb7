"""URLs of Redis and Valkey: of one server, of a node of a cluster, or of the sentinels that know the server."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import RedisClusterException

from ...errors import DeclarationError

_DEFAULT_SENTINEL_PORT = 26379
# The name of the watched server in Redis's own example of a sentinel's configuration.
_DEFAULT_SERVICE = "mymaster"

# Valkey speaks Redis's protocol; redis-py knows only its names.
_AS_REDIS = {"valkey": "redis", "valkeys": "rediss", "redis": "redis", "rediss": "rediss", "unix": "unix"}

# Options of a connection that change neither what arrives nor when a command is given up or sent again.
_OPTIONS = frozenset(
    {"db", "username", "password", "client_name", "protocol", "health_check_interval", "socket_keepalive"}
)
_OF_SENTINELS = frozenset({"sentinel_username", "sentinel_password"})

# For each refused option, the argument that replaces it or the reason.
_INSTEAD = {
    "decode_responses": "what is kept has to come back as bytes",
    "encoding": "what is kept has to come back as bytes",
    "socket_timeout": "use RedisCache(timeout=...)",
    "timeout": "use RedisCache(timeout=...)",
    "socket_connect_timeout": "use RedisCache(connect_timeout=...)",
    "max_connections": "use RedisCache(max_connections=...)",
    "retry_on_timeout": "a command that was sent twice would bring dead entries back",
    "retry_on_error": "a command that was sent twice would bring dead entries back",
    "retry": "a command that was sent twice would bring dead entries back",
}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL that was found usable.

    `sentinels`: their hosts and ports. `url` then has the options of the server, which the sentinels know as `service`,
    and `sentinel_options` are for the connections to the sentinels.
    """

    url: str
    sentinels: tuple[tuple[str, int], ...]
    service: str
    sentinel_options: dict[str, Any]

    @classmethod
    def read(cls, url: str, *, cluster: bool) -> "RedisUrl":
        """Read and check a URL. Raises `DeclarationError`, whose text leaves out what may be a password."""
        scheme, _, rest = url.partition("://")
        name, plus, kind = scheme.lower().partition("+")
        plain = _AS_REDIS.get(name)
        if plain is None or (plus and (kind != "sentinel" or plain == "unix")):
            raise DeclarationError(
                "RedisCache cannot use this URL: it begins with redis://, rediss://, valkey://, valkeys:// or unix://, "
                "or with redis+sentinel:// and the like."
            )
        if plus and cluster:
            raise DeclarationError("RedisCache takes cluster=True or the URL of sentinels, not both.")
        read = _of_sentinels(plain, rest) if plus else cls(f"{plain}://{rest}", (), "", {})
        _check_options(read.url)
        try:
            (RedisCluster if cluster else BlockingConnectionPool).from_url(read.url)
        except (ValueError, RedisClusterException) as error:
            raise DeclarationError(f"RedisCache cannot use this URL: {error}") from None
        return read

    def pool(self, *, timeout: float, **options: Any) -> ConnectionPool:
        """A pool of connections to the server. With sentinels, each new connection asks them for the server."""
        if not self.sentinels:
            return BlockingConnectionPool.from_url(self.url, timeout=timeout, **options)
        found = {**parse_url(self.url), **options}
        del found["host"]
        secure = found.pop("connection_class", None) is not None
        security = {name: value for name, value in found.items() if name.startswith("ssl_")}
        manager = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types here
            self.sentinels,
            sentinel_kwargs={
                **self.sentinel_options,
                **security,
                "ssl": secure,
                "socket_timeout": timeout,
                "socket_connect_timeout": options["socket_connect_timeout"],
                "retry": options["retry"],
            },
        )
        kind = SentinelManagedSSLConnection if secure else SentinelManagedConnection
        return SentinelConnectionPool(self.service, manager, connection_class=kind, **found)  # type: ignore[no-untyped-call]  # as above


def _of_sentinels(plain: str, rest: str) -> RedisUrl:
    """`[user:password@]host[:port][,host[:port]...][/service[/db]][?options]`; user and password are the server's."""
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    service, _, db = path.partition("/")
    options = dict(parse_qsl(query))
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in _OF_SENTINELS & options.keys()}
    if db and not db.strip("/").isdecimal():
        raise DeclarationError("RedisCache cannot use this URL: a database is a number, as in /service/0.")
    url = f"{plain}://{userinfo}{at}{_DEFAULT_SERVICE}/{db or 0}?{urlencode(options)}"
    return RedisUrl(url, tuple(map(_host, hosts.split(","))), unquote(service) or _DEFAULT_SERVICE, own)


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise DeclarationError(
            "RedisCache cannot use this URL: a sentinel is like host:26379, and commas separate them."
        )
    return host, port or _DEFAULT_SENTINEL_PORT


def _check_options(url: str) -> None:
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in _OPTIONS and not name.startswith("ssl_"):
            why = _INSTEAD.get(name, f"it takes {', '.join(sorted(_OPTIONS))} and those of TLS, such as ssl_ca_certs")
            raise DeclarationError(f"RedisCache cannot use the option {name!r} in its URL: {why}. Leave it out.")
