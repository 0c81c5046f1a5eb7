"""`mizan manifest|generate|openapi|check|purge|token`: what the graph says, and what an operator needs of it."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError, MizanError
from mizan_core.graph.declare import Arg, Binding, ByBody, ByName, Result, Whole
from mizan_core.graph.manifest import build_manifest, manifest_json, urls_to_purge
from mizan_core.graph.model import Affect, ContextPlan, Function, Graph, NotNarrowing
from mizan_core.graph.types.declared_types import has_bare_type, show_type
from mizan_core.protocol.cache_policy import Never, Seconds
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.identity import Identity
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.tokens import issue_mwt

from .app import Mizan
from .codegen.client import client_files
from .codegen.files import out_of_date, write
from .codegen.modules import Language
from .codegen.openapi import openapi_json
from .codegen.watching import noting_sources
from .codegen.watching import watch as watch_sources
from .targets import base_url_of, find, graph_of

# What anything may be called by.
_SAYS_NOTHING = frozenset({"id", "pk", "name", "slug", "uuid", "key", "code"})


class _Commands(TyperGroup):
    """The commands. What Mizan or the file system refuses is told without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MizanError, OSError) as error:
            typer.echo(f"mizan: {error}", err=True)
            raise typer.Exit(2) from None


cli = typer.Typer(
    cls=_Commands,
    name="mizan",
    help="What went out of date, and who needs to know.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Target = Annotated[
    str,
    typer.Argument(help="module:attribute of a Mizan, Engine or Graph, or a package to discover.", show_default=False),
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
    """Write the manifest: what an edge needs to know (protocol, section 12)."""
    found = find(target)
    text = manifest_json(graph_of(found), base_url=base_url or base_url_of(found))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


@cli.command()
def generate(
    language: Annotated[Language, typer.Argument(help="What the client is written in.", show_default=False)],
    target: Target,
    out: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False)],
    react: Annotated[bool, typer.Option("--react", help="Also write hooks for React.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Write anew whenever a source changes.")] = False,
    runtime: Annotated[
        str | None, typer.Option(help="Where scripts import the runtime from; written beside the client if left out.")
    ] = None,
    base_url: BaseUrl = None,
    sources: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Write a typed client of every function and context, and the runtime that it needs."""
    if watch and check:
        raise DeclarationError("--watch writes and --check does not; use one of them.")
    wanted = _Wanted(language, target, react=react, base_url=base_url, runtime=runtime)
    if watch:
        raise typer.Exit(_watched(wanted, out))
    with noting_sources(sources):
        _generate(wanted, out, check=check)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A client that is to be generated."""

    language: Language
    target: str
    react: bool
    base_url: str | None
    runtime: str | None

    @property
    def command(self) -> list[str]:
        """What the client depends on, as it is said on the command line."""
        options = [
            *["--react"] * self.react,
            *(["--runtime", self.runtime] if self.runtime else []),
            *(["--base-url", self.base_url] if self.base_url else []),
        ]
        return ["generate", self.language.value, self.target, *options]


def _watched(wanted: _Wanted, out: Path) -> int:
    typer.echo(f"Watching what {wanted.target} imports. Ctrl-C ends it.", err=True)
    try:
        return watch_sources([*wanted.command, "--out", str(out)])
    except KeyboardInterrupt:
        return 0


def _generate(wanted: _Wanted, out: Path, *, check: bool) -> None:
    found = find(wanted.target)
    command = " ".join(["mizan", *wanted.command])
    files = client_files(
        graph_of(found),
        wanted.language,
        base_url=(wanted.base_url or base_url_of(found)).rstrip("/"),
        react=wanted.react,
        command=command,
        runtime=wanted.runtime,
    )
    if not check:
        for name in write(out, files):
            typer.echo(out / name)
        return
    if stale := out_of_date(out, files):
        typer.echo(f"mizan: out of date in {out}: {', '.join(stale)}. Run: {command} --out {out}", err=True)
        raise typer.Exit(1)


@cli.command()
def openapi(
    target: Target,
    base_url: BaseUrl = None,
    title: Annotated[str, typer.Option(help="What the API is called.")] = "Mizan",
    version: Annotated[str, typer.Option(help="Which version of the API it is.")] = "1",
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
    """Print what every context is narrowed by, and what every mutation narrows and what it leaves whole."""
    graph = graph_of(find(target))
    for name in sorted(graph.contexts):
        typer.echo(_describe_context(graph.contexts[name]))
    for name in sorted(graph.functions):
        if graph.functions[name].affects:
            typer.echo(_describe_mutation(graph, graph.functions[name]))


@cli.command()
def purge(
    target: Target,
    context: Annotated[str, typer.Argument(help="The context, or a reader, to purge.", show_default=False)],
    scope: Annotated[
        list[str] | None, typer.Argument(help="name=value, as often as needed; none purges all of it.")
    ] = None,
) -> None:
    """Purge a context from the shared cache, and print the header and the URLs that an edge has to forget."""
    found = find(target)
    engine = found.engine if isinstance(found, Mizan) else found
    if not isinstance(engine, Engine):
        engine = Mizan.from_env(graph_of(found)).engine
    if not engine.cache_is_shared:
        raise DeclarationError(
            f"The cache of {target} is in each process's own memory, where no other process can purge it. "
            "Restart the servers, or share a cache between them (MIZAN_CACHE_REDIS_URL)."
        )
    params: dict[str, object] = dict(_assignment(one) for one in scope or ())
    invalidations = asyncio.run(_purged(engine, context, params))
    typer.echo(f"X-Mizan-Invalidate: {encode_header(invalidations)}")
    known = build_manifest(engine.graph, base_url=base_url_of(found))
    for url in urls_to_purge(known, invalidations):
        typer.echo(url)


@cli.command()
def token(
    target: Target,
    user: Annotated[str, typer.Option(help="The user id to vouch for.", show_default=False)],
    staff: Annotated[bool, typer.Option("--staff")] = False,
    superuser: Annotated[bool, typer.Option("--superuser")] = False,
    permission: Annotated[list[str] | None, typer.Option(help="A permission; repeat it for more.")] = None,
    ttl: Annotated[int | None, typer.Option(help="Seconds until it expires; the app's own if left out.")] = None,
) -> None:
    """Issue a token for `X-Mizan-Token`, signed by the newest key of a Mizan or of the environment."""
    found = find(target)
    app = found if isinstance(found, Mizan) else Mizan.from_env(graph_of(found))
    if app.mwt_keys is None:
        raise DeclarationError(f"{target} has no mwt_keys to sign with; set MIZAN_MWT_SECRET or MIZAN_MWT_KEYS.")
    identity = Identity(user, staff=staff, superuser=superuser, permissions=frozenset(permission or ()))
    typer.echo(
        issue_mwt(
            identity, app.mwt_keys, ttl=app.mwt_ttl if ttl is None else ttl, audience=app.audience, now=time.time()
        )
    )


async def _purged(engine: Engine, context: str, params: dict[str, object]) -> tuple[Invalidation, ...]:
    async with engine:
        return await engine.invalidate(context, **params)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DeclarationError(f"{text!r} is not of the form name=value.")
    return name, value


def _describe_context(plan: ContextPlan) -> str:
    parameters = ", ".join(
        name if parameter.required else f"{name}={'null' if parameter.default_text is None else parameter.default_text}"
        for name, parameter in plan.parameters.items()
    )
    lines = [f"context {plan.name}({parameters})", f"  kept     {_describe_policy(plan)}"]
    if plan.readers:
        lines.append(f"  bundle   {', '.join(reader.name for reader in plan.readers)}")
    lines += [f"  page     {_describe_page(plan, page)}" for page in plan.pages]
    shapes = ", ".join("+".join(shape) if shape else "whole" for shape in plan.shapes)
    return "\n".join([*lines, f"  scopes   {shapes}", ""])


def _describe_policy(plan: ContextPlan) -> str:
    match plan.policy.lifetime:
        case Never():
            return "never"
        case Seconds(seconds=seconds):
            kept = f"{seconds} s"
        case _:
            kept = "until purged"
    whom = {"all": "everyone", "user": "each user", "permissions": "each permission set"}[plan.policy.per.value]
    guarded = ", behind a guard" if plan.policy.guarded else ""
    return f"{kept}, for {whom}{guarded}" + (f", rev {plan.policy.rev}" if plan.policy.rev else "")


def _describe_page(plan: ContextPlan, page: Function) -> str:
    missing = sorted({name for shape in plan.shapes for name in shape if name not in page.inputs})
    note = f"  (at no edge: it lacks {', '.join(missing)}, by which the context is narrowed)" if missing else ""
    return f"{page.name} {page.declaration.route or '(no route)'}{note}"


def _describe_mutation(graph: Graph, function: Function) -> str:
    private = " (private)" if function.declaration.private else ""
    lines = [f"mutation {function.name}({', '.join(function.inputs)}){private}"]
    for affect in function.affects:
        plan = graph.contexts[affect.context]
        reader = f"/{affect.function}" if affect.function else ""
        lines.append(f"  {affect.context}{reader}: {_describe_affect(plan, affect)}")
        lines += [f"    {_describe_passed_over(plan, function, *one)}" for one in affect.passed_over]
    return "\n".join([*lines, *(f"  WARNING: {one}" for one in _describe_bare_names(function)), ""])


def _describe_affect(plan: ContextPlan, affect: Affect) -> str:
    if isinstance(affect.narrowing, ByBody):
        return "narrowed by its body"
    if isinstance(affect.narrowing, Whole):
        return "WHOLE, as declared"
    if affect.bindings:
        return f"narrowed by {', '.join(_describe_binding(name, binding) for name, binding in affect.bindings)}"
    if not plan.parameters:
        return "whole, for it has no parameters"
    if affect.passed_over:
        return "WHOLE"
    names = [name for name, parameter in plan.parameters.items() if parameter.is_name]
    if not names:
        return "WHOLE: none of its parameters is required; see .where(...)"
    return f"WHOLE: no argument is called {' or '.join(names)}; see .where(...)"


def _describe_passed_over(plan: ContextPlan, function: Function, name: str, why: NotNarrowing) -> str:
    """Why an argument does not narrow, and how to say that it should."""
    where = f'.where({name}=Arg("{name}"))'
    if why is NotNarrowing.OPTIONAL:
        return f"{name} does not narrow: it is optional in {plan.name}, a filter; if it should, declare {where}"
    argument, parameter = (show_type(one.annotation) for one in (function.inputs[name].input, plan.parameters[name]))
    return (
        f"{name} does not narrow: {argument} here, {parameter} in {plan.name}; "
        f"if both are one thing, give them one type or declare {where}"
    )


def _describe_bare_names(function: Function) -> Iterator[str]:
    """Arguments that narrow several contexts by a name that says of nothing what it is."""
    narrowed: dict[str, list[str]] = {}
    for affect in function.affects:
        for name, _ in affect.bindings if isinstance(affect.narrowing, ByName) else ():
            if name in _SAYS_NOTHING and has_bare_type(function.inputs[name].input.annotation):
                narrowed.setdefault(name, []).append(affect.context)
    for name, contexts in narrowed.items():
        distinct = list(dict.fromkeys(contexts))
        if len(distinct) > 1:
            yield (
                f"one {name} narrows {' and '.join(distinct)}; "
                "if these are different things, give each a NewType or declare .where(...)"
            )


def _describe_binding(name: str, binding: Binding) -> str:
    match binding:
        case Arg(name=argument):
            return name if argument == name else f"{name} = argument {argument}"
        case Result(field=field):
            return f"{name} = {field} of the result"
    return f"{name} = the caller"
