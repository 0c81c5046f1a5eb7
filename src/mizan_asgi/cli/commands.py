"""The commands of `mizan`. Each is a function here, with its options."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mizan_core.cache.backends.memory import MemoryCache
from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError, InvalidInput, MizanError, Unauthorized
from mizan_core.graph.manifest import build_manifest, manifest_json, urls_to_purge
from mizan_core.proof import Audit, Recorded, read_recording
from mizan_core.proof import audit as play
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.identity import Identity
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.tokens import issue_mwt

from ..app import Mizan
from ..codegen.client import client_files
from ..codegen.modules import Language
from ..codegen.openapi import openapi_json
from .deployments import purged_since
from .describe import describe_audit, describe_context, describe_mutation
from .doctor import doctor
from .edges import edge
from .explain import bundle_explained, call_explained
from .files import out_of_date, write
from .scripts import script_of
from .targets import base_url_of, engine_of, find, graph_of
from .watching import noting_sources
from .watching import watch as watch_sources


class _Commands(TyperGroup):
    """The commands. An error of Mizan or of the file system is printed without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MizanError, OSError) as error:
            typer.echo(f"mizan: {_told(error)}", err=True)
            raise typer.Exit(2) from None


cli = typer.Typer(
    cls=_Commands,
    name="mizan",
    help="What went out of date, and who needs to know.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

cli.add_typer(edge, name="edge")
cli.command()(doctor)

Target = Annotated[
    str,
    typer.Argument(help="module:attribute of a Mizan, Engine or Graph, or a package to discover.", show_default=False),
]
Permission = Annotated[list[str] | None, typer.Option(help="A permission; repeat it for more.")]
Claims = Annotated[
    list[str] | None,
    typer.Option(help="A claim, as name=JSON, such as 'org=1' or 'role=\"owner\"'; repeat it for more."),
]
BaseUrl = Annotated[str | None, typer.Option(help="Where the app is mounted; a Mizan knows it by itself.")]


def main() -> None:
    """The command's entry point."""
    cli()


@cli.command()
def manifest(
    target: Target,
    base_url: BaseUrl = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Write the manifest, which tells an edge what to purge (protocol, section 12)."""
    found = find(target)
    text = manifest_json(graph_of(found), base_url=base_url or base_url_of(found))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


@cli.command()
def generate(
    language: Annotated[Language, typer.Argument(help="The language of the client.", show_default=False)],
    target: Target,
    out: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False)],
    react: Annotated[bool, typer.Option("--react", help="Also write hooks for React.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Write anew whenever a source changes.")] = False,
    runtime: Annotated[
        str | None,
        typer.Option(help="The URL of the runtime for scripts; if left out, it is written too."),
    ] = None,
    base_url: BaseUrl = None,
    sources: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Write a typed client of every function and context, with the runtime that it needs."""
    if watch and check:
        raise DeclarationError("--watch writes and --check does not; use one of them.")
    options = _ClientOptions(language, target, react=react, base_url=base_url, runtime=runtime)
    if watch:
        raise typer.Exit(_watched(options, out))
    with noting_sources(sources):
        _generate(options, out, check=check)


@cli.command()
def openapi(
    target: Target,
    base_url: BaseUrl = None,
    title: Annotated[str, typer.Option(help="The title of the API.")] = "Mizan",
    version: Annotated[str, typer.Option(help="The version of the API.")] = "1",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Write an OpenAPI 3.1 document of every call and bundle."""
    found = find(target)
    document = openapi_json(graph_of(found), base_url=base_url or base_url_of(found), title=title, version=version)
    if out is None:
        typer.echo(document, nl=False)
    else:
        write(out.parent, {out.name: document})


@cli.command()
def check(target: Target) -> None:
    """Print how each context can be narrowed, and which scopes each mutation makes stale."""
    graph = graph_of(find(target))
    for name in sorted(graph.contexts):
        typer.echo(describe_context(graph.contexts[name]))
    for name in sorted(graph.functions):
        if graph.functions[name].affects or graph.functions[name].declaration.spares:
            typer.echo(describe_mutation(graph, graph.functions[name]))


@cli.command()
def explain(
    target: Target,
    function: Annotated[str | None, typer.Argument(help="The function that would be called.")] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="Its arguments: name=text, or name:=JSON; repeat a name for a list."),
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="In place of a function: a bundle, such as 'orders?customer_id=7', or its URL.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="The id of the user who asks; anonymous if left out.")] = None,
    staff: Annotated[bool, typer.Option("--staff")] = False,
    superuser: Annotated[bool, typer.Option("--superuser")] = False,
    permission: Permission = None,
    claim: Claims = None,
) -> None:
    """Tell what a call would purge and why, without running it; or whether a bundle is kept. No guard is asked."""
    found = find(target)
    identity = _identity(user, staff=staff, superuser=superuser, permissions=permission or (), claims=_claims(claim))
    if (function is None) is (bundle is None):
        raise DeclarationError("Name a function to explain, or a bundle with --bundle, and not both.")
    if bundle is not None:
        lines = bundle_explained(found, bundle, identity)
    else:
        given = [_assignment(one) for one in arguments or ()]
        lines = call_explained(found, function or "", given, identity)
    asyncio.run(_printed(lines))


@cli.command()
def purge(
    target: Target,
    context: Annotated[
        str | None, typer.Argument(help="The context, or a reader, to purge.", show_default=False)
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Argument(help="name=value; repeat it for more. Without it, all is purged."),
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="The manifest of before: purge the contexts that mean something else since.")
    ] = None,
) -> None:
    """Purge a context from the shared cache and its edges. Prints `X-Mizan-Invalidate` and the URLs to purge elsewhere.

    With --since, after a deployment: the contexts whose rev, readers, parameters, scopes or results have changed.
    """
    found = find(target)
    engine = engine_of(found)
    if (context is None) is (since is None):
        raise DeclarationError("Name a context to purge, or the manifest of before with --since, and not both.")
    if since is not None:
        for line in asyncio.run(purged_since(engine, base_url_of(found), since)):
            typer.echo(line)
        return
    if not engine.cache_is_shared:
        raise DeclarationError(
            f"The cache of {target} is in the memory of each server process, which no other process can purge. "
            "Restart the servers, or share a cache between them (MIZAN_CACHE_REDIS_URL)."
        )
    params: dict[str, object] = dict(_assignment(one) for one in scope or ())
    invalidations = asyncio.run(_purged(engine, context or "", params))
    typer.echo(f"X-Mizan-Invalidate: {encode_header(invalidations)}")
    known = build_manifest(engine.graph, base_url=base_url_of(found))
    for url in urls_to_purge(known, invalidations):
        typer.echo(url)


@cli.command()
def triggers(
    target: Annotated[str, typer.Argument(help="module:attribute of a Triggers, or of an Outbox.", show_default=False)],
    drop: Annotated[bool, typer.Option("--drop", help="Print what drops them.")] = False,
) -> None:
    """Print the SQL of PostgreSQL's triggers, in place of those made before; of an outbox, its table."""
    for line in script_of(target, drop=drop):
        typer.echo(line)


@cli.command()
def audit(
    target: Target,
    calls: Annotated[Path, typer.Option(help="The recording, as mizan_core.proof.Recorder writes it.")],
    scratch: Annotated[
        bool, typer.Option("--scratch", help="The database of the target may be written to and thrown away.")
    ] = False,
) -> None:
    """Play recorded calls against a scratch database, and tell what they leave stale. Exits with 1 if anything is."""
    if not scratch:
        raise DeclarationError(
            f"An audit runs the functions of {target}, which write to its database. "
            "Point it to a database that may be thrown away, and say so with --scratch."
        )
    found = find(target)
    engine = found.engine if isinstance(found, Mizan) else found
    if not isinstance(engine, Engine):
        engine = Engine(engine, cache=MemoryCache())
    try:
        recording = calls.read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError(f"{calls} cannot be read: {error.strerror}.") from error
    audited = asyncio.run(_audited(engine, list(read_recording(recording.splitlines()))))
    for line in describe_audit(audited):
        typer.echo(line)
    if audited.proved:
        raise typer.Exit(1)


@cli.command()
def token(
    target: Target,
    user: Annotated[str, typer.Option(help="The id of the user.", show_default=False)],
    staff: Annotated[bool, typer.Option("--staff")] = False,
    superuser: Annotated[bool, typer.Option("--superuser")] = False,
    permission: Permission = None,
    claim: Claims = None,
    ttl: Annotated[int | None, typer.Option(help="Seconds until it expires; if left out, as the app sets.")] = None,
) -> None:
    """Issue a token for `X-Mizan-Token`, signed by the newest key of a Mizan or of the environment."""
    found = find(target)
    app = found if isinstance(found, Mizan) else Mizan.from_env(graph_of(found))
    if app.mwt_keys is None:
        raise DeclarationError(f"{target} has no mwt_keys to sign with; set MIZAN_MWT_SECRET or MIZAN_MWT_KEYS.")
    identity = _identity(user, staff=staff, superuser=superuser, permissions=permission or (), claims=_claims(claim))
    typer.echo(
        issue_mwt(
            identity, app.mwt_keys, ttl=app.mwt_ttl if ttl is None else ttl, audience=app.audience, now=time.time()
        )
    )


@dataclass(frozen=True, slots=True)
class _ClientOptions:
    """The options of a client to generate."""

    language: Language
    target: str
    react: bool
    base_url: str | None
    runtime: str | None

    @property
    def command(self) -> list[str]:
        """The command line that writes this client, without `--out`."""
        options = [
            *["--react"] * self.react,
            *(["--runtime", self.runtime] if self.runtime else []),
            *(["--base-url", self.base_url] if self.base_url else []),
        ]
        return ["generate", self.language.value, self.target, *options]


def _watched(options: _ClientOptions, out: Path) -> int:
    typer.echo(f"Watching the files that {options.target} imports. Press Ctrl-C to stop.", err=True)
    try:
        return watch_sources([*options.command, "--out", str(out)])
    except KeyboardInterrupt:
        return 0


def _generate(options: _ClientOptions, out: Path, *, check: bool) -> None:
    found = find(options.target)
    command = " ".join(["mizan", *options.command])
    files = client_files(
        graph_of(found),
        options.language,
        base_url=(options.base_url or base_url_of(found)).rstrip("/"),
        react=options.react,
        command=command,
        runtime=options.runtime,
    )
    if not check:
        for name in write(out, files):
            typer.echo(out / name)
        return
    if stale := out_of_date(out, files):
        typer.echo(f"mizan: out of date in {out}: {', '.join(stale)}. Run: {command} --out {out}", err=True)
        raise typer.Exit(1)


async def _audited(engine: Engine, recording: Sequence[Recorded]) -> Audit:
    async with engine:
        return await play(engine, recording)


async def _printed(lines: AsyncIterator[str]) -> None:
    async for line in lines:
        typer.echo(line)


def _identity(
    user: str | None, *, staff: bool, superuser: bool, permissions: Sequence[str], claims: Mapping[str, object]
) -> Identity:
    if user is not None:
        return Identity(user, staff=staff, superuser=superuser, permissions=frozenset(permissions), claims=claims)
    if staff or superuser or permissions:
        raise DeclarationError("--staff, --superuser and --permission describe a user; name one with --user.")
    return Identity(None, claims=claims)


def _claims(texts: Sequence[str] | None) -> dict[str, object]:
    """The claims of an identity, from texts of the form name=JSON."""
    claims: dict[str, object] = {}
    for name, value in map(_assignment, texts or ()):
        try:
            claims[name] = json.loads(value)
        except ValueError as error:
            raise DeclarationError(
                f"The value of --claim {name} is no JSON: {error}. A text is written with its quotation marks: "
                f"'{name}=\"...\"'."
            ) from None
    return claims


def _told(error: Exception) -> str:
    """An error in one line; one of arguments with the name of each and what is wrong with it."""
    if isinstance(error, Unauthorized):
        return (
            "The identity has no value for a parameter that it fills in, or one that does not fit; see --user, --claim."
        )
    if isinstance(error, InvalidInput) and error.errors:
        return "; ".join(f"{_place(one.get('loc'))}: {one.get('msg')}" for one in error.errors)
    return str(error)


def _place(location: object) -> str:
    """Where a problem is, without the first part, which says that it is an argument or a parameter."""
    return ".".join(map(str, location[1:])) if isinstance(location, list | tuple) else str(location)


async def _purged(engine: Engine, context: str, params: dict[str, object]) -> tuple[Invalidation, ...]:
    async with engine:
        return await engine.invalidate(context, **params)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DeclarationError(f"{text!r} is not of the form name=value.")
    return name, value
