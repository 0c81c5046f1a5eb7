"""SQL for the database: of `Triggers` and `Outbox`."""

from collections.abc import Iterator

from mizan_core.errors import DeclarationError

from .targets import import_target


def script_of(target: str, *, drop: bool) -> Iterator[str]:
    """One transaction that makes the triggers or the outbox of a target, or drops them. Raises `DeclarationError`."""
    try:
        from mizan_core.integrations.postgresql import Outbox, Triggers  # noqa: PLC0415  # an optional extra
    except ImportError:
        raise DeclarationError("mizan triggers needs the extra: pip install 'mizan-asgi[postgresql]'.") from None
    found = import_target(target)
    if not isinstance(found, Triggers | Outbox):
        raise DeclarationError(
            f"{target} is a {type(found).__name__}, and neither Triggers nor an Outbox. Name one, declared beside it: "
            "triggers = Triggers(mizan, Table('orders', Purge(Orders, by='customer_id')))."
        )
    yield "BEGIN;"
    yield from found.drop() if drop else found.create()
    yield "COMMIT;"
