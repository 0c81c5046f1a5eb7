"""`mizan doctor`: what is wrong with a deployment, asked from outside."""

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from mizan_core.errors import DeclarationError

from ..app import Mizan
from ..doctor.edges import InFrontOf
from ..doctor.examination import Examination
from ..doctor.findings import Report, lines_of
from ..doctor.people import read_people
from ..doctor.places import Place
from ..edge import HeaderOnly, Nodes
from .targets import Found, base_url_of, engine_of, find, graph_of

# A vendor's nodes forget within seconds; those of `mizan edge` before the purge has returned.
_PATIENCE_OF_NODES, _PATIENCE_OF_VENDORS = 2.0, 30.0


def doctor(
    url: Annotated[str, typer.Argument(help="The deployment, as https://example.com.", show_default=False)],
    target: Annotated[
        str,
        typer.Argument(
            help="module:attribute of a Mizan, Engine or Graph, or a package to discover.", show_default=False
        ),
    ],
    people: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="A token of a user, or a header such as 'Cookie: session=...', or @FILE with one; give two people.",
        ),
    ] = None,
    urls: Annotated[
        list[str] | None,
        typer.Option("--url", help="Ask for this path and query alone; repeat it for more."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--with", help="A parameter, as user_id=5 or user.user_id=5; repeat it for more."),
    ] = None,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Purge what a cache keeps, from here, and see whether the cache forgets it."),
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one answer may take.")] = 10.0,
    base_url: Annotated[str | None, typer.Option(help="Where the app is mounted; a Mizan knows it by itself.")] = None,
) -> None:
    """Ask a deployment as two people and as nobody, and tell what is wrong with it and with the caches in front.

    Exits with 1 if anything is wrong, and with 2 if something could not be asked. It reads, and calls no mutation.
    """
    found = find(target)
    if not timeout > 0:
        raise DeclarationError(f"--timeout {timeout:g} is not a number of seconds above 0.")
    what = Examination(
        url=url,
        graph=graph_of(found),
        base_url=(base_url or base_url_of(found)).rstrip("/"),
        front=_front(found),
        people=read_people(people or ()),
        urls=urls or (),
        given=[_pair(one) for one in given or ()],
        signs_tokens=isinstance(found, Mizan) and found.mwt_keys is not None,
        timeout=timeout,
    )
    report = asyncio.run(_purging(what, found, target) if purge else _examined(what))
    for line in lines_of(report):
        typer.echo(line)
    raise typer.Exit(report.exit_code)


async def _examined(what: Examination) -> Report:
    try:
        from ..doctor.deployment import examined  # noqa: PLC0415  # an optional extra
    except ImportError:
        raise DeclarationError("mizan doctor asks by httpx: pip install 'mizan-asgi[client]'.") from None
    return await examined(what)


async def _purging(what: Examination, found: Found, target: str) -> Report:
    """The report of an examination that purges at the origin, with the engine of the target."""
    engine = engine_of(found)
    if not engine.cache_is_shared:
        raise DeclarationError(
            f"The cache of {target} is in the memory of each server process, which --purge cannot reach from here. "
            "Share a cache between the servers (MIZAN_CACHE_REDIS_URL), or leave --purge out."
        )
    if engine.edges is not None:
        engine.edges.is_short_lived = True

    async def purge(place: Place) -> None:
        await engine.invalidate(place.context, **place.params)

    async with engine:
        patience = _PATIENCE_OF_NODES if what.front is None or what.front.nodes else _PATIENCE_OF_VENDORS
        report = await _examined(replace(what, purge=purge, patience=patience))
        failing = engine.health().failing_edges
    told = (f"from here, {', '.join(failing)} could not be told of purges",) if failing else ()
    return replace(report, unasked=(*report.unasked, *told))


def _front(found: Found) -> InFrontOf | None:
    """The caches in front, as a `Mizan` has them; an engine and a graph do not tell."""
    if not isinstance(found, Mizan):
        return None
    nodes = all(isinstance(one, Nodes | HeaderOnly) for one in found.in_front)
    return InFrontOf(has_edge=bool(found.in_front), nodes=nodes)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise DeclarationError(f"--with {text!r} is not of the form name=value.")
    return name, value
