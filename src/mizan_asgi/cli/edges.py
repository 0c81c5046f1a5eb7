"""`mizan edge`: programs for caches in front of the origin, written from the graph."""

from pathlib import Path
from typing import Annotated

import typer

from mizan_core.edge import nginx_text, varnish_text, worker_text
from mizan_core.graph.manifest import build_manifest

from .files import out_of_date, write
from .targets import base_url_of, find, graph_of

edge = typer.Typer(
    help="Write the program of a cache in front, which forgets exactly what a mutation made stale.",
    no_args_is_help=True,
)

Target = Annotated[
    str,
    typer.Argument(help="module:attribute of a Mizan, Engine or Graph, or a package to discover.", show_default=False),
]
OriginUrl = Annotated[str, typer.Option("--origin", help="The server behind, as http://host:port.", show_default=False)]
Host = Annotated[
    str | None, typer.Option(help="The only host whose answers are kept. Without it, each host has its own.")
]
Out = Annotated[Path, typer.Option(help="The file to write.", show_default=False)]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file is out of date.")]
BaseUrl = Annotated[str | None, typer.Option(help="Where the app is mounted; a Mizan knows it by itself.")]


@edge.command()
def varnish(
    target: Target, origin: OriginUrl, out: Out, host: Host = None, check: Check = False, base_url: BaseUrl = None
) -> None:
    """Write a program for Varnish, from 7.1 on, with the module var of varnish-modules."""
    found = find(target)
    manifest = build_manifest(graph_of(found), base_url=base_url or base_url_of(found))
    options = {"--origin": origin, "--host": host, "--base-url": base_url}
    command = _command("varnish", target, options)
    _settle(varnish_text(manifest, origin=origin, host=host, written_by=command), out, command, check=check)


@edge.command()
def nginx(
    target: Target,
    origin: OriginUrl,
    out: Out,
    host: Host = None,
    listen: Annotated[str, typer.Option(help="The address of the public, as nginx writes it.")] = "80",
    purge_listen: Annotated[str, typer.Option(help="The address of purges; only the origin may reach it.")] = (
        "127.0.0.1:8611"
    ),
    cache_path: Annotated[str, typer.Option(help="The folder of what is kept.")] = "/var/cache/nginx/mizan",
    check: Check = False,
    base_url: BaseUrl = None,
) -> None:
    """Write settings for nginx with its Lua module, or for OpenResty, to be included in its `http` block."""
    found = find(target)
    manifest = build_manifest(graph_of(found), base_url=base_url or base_url_of(found))
    options = {
        "--origin": origin,
        "--host": host,
        "--listen": listen if listen != "80" else None,
        "--purge-listen": purge_listen if purge_listen != "127.0.0.1:8611" else None,
        "--cache-path": cache_path if cache_path != "/var/cache/nginx/mizan" else None,
        "--base-url": base_url,
    }
    command = _command("nginx", target, options)
    text = nginx_text(
        manifest,
        origin=origin,
        host=host,
        listen=listen,
        purge_listen=purge_listen,
        cache_path=cache_path,
        written_by=command,
    )
    _settle(text, out, command, check=check)


@edge.command()
def worker(target: Target, out: Out, check: Check = False, base_url: BaseUrl = None) -> None:
    """Write the tables of a Cloudflare Worker, as examples/edge_worker reads them: a module of JavaScript."""
    found = find(target)
    manifest = build_manifest(graph_of(found), base_url=base_url or base_url_of(found))
    command = _command("worker", target, {"--base-url": base_url})
    _settle(worker_text(manifest, written_by=command), out, command, check=check)


def _command(name: str, target: str, options: dict[str, str | None]) -> str:
    """The command line that writes this file, without `--out`."""
    given = [f"{option} {_word(value)}" for option, value in options.items() if value is not None]
    return " ".join(["mizan edge", name, target, *given])


def _word(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _settle(text: str, out: Path, command: str, *, check: bool) -> None:
    """Write the file if it differs, or fail."""
    files = {out.name: text.encode()}
    if not check:
        for name in write(out.parent, files):
            typer.echo(out.parent / name)
    elif out_of_date(out.parent, files):
        typer.echo(f"mizan: {out} is out of date. Run: {command} --out {out}", err=True)
        raise typer.Exit(1)
