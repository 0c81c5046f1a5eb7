"""Settings from the environment, read here and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mizan_core.errors import DeclarationError
from mizan_core.tokens import DEFAULT_TTL_SECONDS


@dataclass(frozen=True, slots=True)
class Settings:
    """What `Mizan.from_env` reads. What is not set is None or the default."""

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
                "the same secret, or none would see another's purges."
            )
        return settings


def several_workers(environ: Mapping[str, str], argv: Sequence[str]) -> bool:
    """Whether a server was told, in a way that shows, to start several processes."""
    counts = [environ.get("WEB_CONCURRENCY", "")]
    for place, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option in ("--workers", "-w"):
            counts.append(value if equals else "".join(argv[place + 1 : place + 2]))
        elif word.startswith("-w"):
            counts.append(word.removeprefix("-w"))
    return any(count.isdecimal() and int(count) > 1 for count in counts)


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
