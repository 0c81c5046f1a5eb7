"""Settings from the environment, which no other module reads; and whether a server runs several processes."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from mizan_core.errors import DeclarationError
from mizan_core.protocol.tokens import DEFAULT_TTL_SECONDS

# Servers that can start several processes, and the variables that set the number.
_SERVERS = frozenset({"uvicorn", "gunicorn", "uvicorn_worker", "hypercorn", "granian"})
_COUNTS = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that `Mizan.from_env` reads. One that is not set is None or its default."""

    cache_secret: str | None = None
    cache_redis_url: str | None = None
    mwt_keys: Mapping[str, str] | None = None
    mwt_ttl: int = DEFAULT_TTL_SECONDS
    mwt_audience: str = "mizan"
    trusted_origins: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises `DeclarationError` naming the variable that cannot be used."""
        settings = cls(
            cache_secret=environ.get("MIZAN_CACHE_SECRET") or None,
            cache_redis_url=environ.get("MIZAN_CACHE_REDIS_URL") or None,
            mwt_keys=_keys(environ),
            mwt_ttl=_seconds(environ.get("MIZAN_MWT_TTL")),
            mwt_audience=environ.get("MIZAN_MWT_AUDIENCE") or "mizan",
            trusted_origins=tuple(_listed(environ.get("MIZAN_TRUSTED_ORIGINS", ""))),
        )
        if settings.cache_redis_url is not None and settings.cache_secret is None:
            raise DeclarationError(
                "MIZAN_CACHE_REDIS_URL is set and MIZAN_CACHE_SECRET is not. All processes that share the cache need "
                "the same secret, or the purges of one would not reach the others."
            )
        return settings


def several_workers(environ: Mapping[str, str], argv: Sequence[str], frame: FrameType | None = None) -> bool:
    """Whether a server was told to start several processes: by a variable, by an argument, or in Python.

    A number set in Python, or in the server's configuration file, is in a frame of the server, which is importing the
    application. `frame` is the innermost frame to search.
    """
    with contextlib.suppress(ValueError):  # unbalanced quotes, which gunicorn itself refuses
        argv = [*argv, *shlex.split(environ.get("GUNICORN_CMD_ARGS", ""))]
    counts = [environ.get(name, "") for name in _COUNTS]
    for place, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option in ("--workers", "-w"):
            counts.append(value if equals else "".join(argv[place + 1 : place + 2]))
        elif word.startswith("-w"):
            counts.append(word.removeprefix("-w"))
    return any(count.isdecimal() and int(count) > 1 for count in counts) or any(map(_tells_of_several, _frames(frame)))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _tells_of_several(frame: FrameType) -> bool:
    """Whether this frame is a server's, and its variables tell of several processes or of a worker after the first."""
    if frame.f_globals.get("__name__", "").partition(".")[0] not in _SERVERS:
        return False
    known = frame.f_locals
    holders = [known[name] for name in ("self", "config", "cfg") if name in known]
    holders += [getattr(one, name, None) for one in holders for name in ("config", "cfg")]
    counts = [getattr(one, "workers", None) for one in holders] + [known.get("worker_id")]
    return any(isinstance(count, int) and count > 1 for count in counts)


def _keys(environ: Mapping[str, str]) -> Mapping[str, str] | None:
    secret, listed = environ.get("MIZAN_MWT_SECRET"), environ.get("MIZAN_MWT_KEYS")
    if secret and listed:
        raise DeclarationError("MIZAN_MWT_SECRET and MIZAN_MWT_KEYS are both set; keep the one with all the keys.")
    if secret:
        return {"default": secret}
    if not listed:
        return None
    keys: dict[str, str] = {}
    for piece in _listed(listed):
        kid, equals, value = piece.partition("=")
        if not equals or not kid or kid in keys:
            raise DeclarationError("MIZAN_MWT_KEYS is not of the form kid=secret,kid=secret with each kid once.")
        keys[kid] = value
    return keys


def _seconds(text: str | None) -> int:
    if not text:
        return DEFAULT_TTL_SECONDS
    if not text.isdecimal() or int(text) == 0:
        raise DeclarationError("MIZAN_MWT_TTL is not a whole number of seconds from 1.")
    return int(text)


def _listed(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(",") if piece.strip()]
