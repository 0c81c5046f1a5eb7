"""The manifest as tables for edges: which URLs may be kept, and which tags URLs and invalidations have.

A tag is written as an entry of `X-Mizan-Invalidate` (protocol, section 15): `user;user_id=5`. A surface, which is a
bundle or a page, has one tag for each known scope shape of its context. A page that lacks a parameter of a shape has a
tag of the parameters that it has, with `/*` behind the context: `user/*;user_id=5`. An invalidation of that shape names
it as well.

`Surface.pattern` is a regular expression that Python, PCRE and PCRE2 read alike.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DeclarationError
from ..protocol.urls import ROUTE_PARAMETER, encode_text

# A text in a canonical URL. An escape never spells a character that could have been written as it is.
_ESCAPE = "%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF])"
TEXT = f"(?:[A-Za-z0-9._~-]++|{_ESCAPE})*+"

# A path parameter by its convertor. `path` alone takes slashes; a convertor of the host's may take anything.
_SEGMENT = f"(?:[A-Za-z0-9._~-]|{_ESCAPE})+"
_SEGMENTS = f"(?:[A-Za-z0-9._~/-]|{_ESCAPE})*"
_PARAMETERS = {
    "path": _SEGMENTS,
    "int": "[0-9]+",
    "float": r"[0-9]+(?:\.[0-9]+)?",
    "uuid": "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
}

# Other programs on the way to the origin may take such segments of a path away.
_NO_DOTS = r"(?![^?]*/\.{1,2}(?:[/?]|$))"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

# Routes are written into strings of several languages: no quotes, backslashes, braces, spaces or control characters.
_LITERAL = re.compile(r"[A-Za-z0-9\-._~!$&()*+,;=:@%/]*")


@dataclass(frozen=True, slots=True)
class Template:
    """A tag without its texts. `head`: a context, with `/*` behind it for the tags of pages that lack parameters."""

    head: str
    names: tuple[str, ...]

    def tag(self, texts: Mapping[str, str]) -> str:
        """The tag with these percent-encoded texts."""
        return self.head + "".join(f";{name}={texts[name]}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Surface:
    """A bundle or a page for everyone. `path`: its endpoint, or its route.

    `params` are all that it takes; `in_path` and `in_query` those that its URLs give. `filled`: the percent-encoded
    texts of those that a URL leaves out, except `nullable` ones that are null. `version`: the rev and the fingerprint,
    for the key.
    """

    context: str
    path: str
    is_page: bool
    params: tuple[str, ...]
    in_path: tuple[str, ...]
    in_query: tuple[str, ...]
    lists: frozenset[str]
    nullable: frozenset[str]
    filled: Mapping[str, str]
    version: str
    templates: tuple[Template, ...]
    pattern: str

    @property
    def has_two_spellings(self) -> bool:
        """Whether its paths are also taken with another final slash."""
        return _has_two_spellings(self.path)

    def with_capture(self, name: str) -> str:
        """The pattern of the path, with one group: the text of this path parameter."""
        return _path_pattern(self.path, capture=name)


@dataclass(frozen=True, slots=True)
class Shape:
    """A known scope shape, and the tags that an invalidation of this shape purges."""

    names: tuple[str, ...]
    templates: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class EdgeMap:
    """What an edge has to know. `shapes`: those of each context, the largest first; the last is the whole context.

    `passing`: patterns of paths at which the origin answers for one caller, in the same language as `Surface.pattern`.
    `calls`: the contexts that a mutation makes stale, by its name, and `routes` by the pattern of its own path.
    `harmless`: the readers, which can be called and change nothing. `identity_headers`: those that tell who asks, with
    `Cookie`.
    """

    base_url: str
    surfaces: tuple[Surface, ...]
    shapes: Mapping[str, tuple[Shape, ...]]
    passing: tuple[str, ...]
    calls: Mapping[str, tuple[str, ...]]
    routes: Mapping[str, tuple[str, ...]]
    harmless: tuple[str, ...]
    identity_headers: tuple[str, ...]


def read_manifest(manifest: Mapping[str, Any]) -> EdgeMap:
    """The tables of a manifest. Raises `DeclarationError` for names and routes that no edge could be written for."""
    _check(manifest)
    contexts: Mapping[str, Mapping[str, Any]] = manifest["contexts"]
    surfaces: list[Surface] = []
    shapes: dict[str, tuple[Shape, ...]] = {}
    for name, entry in sorted(contexts.items()):
        known = _known_shapes(entry)
        own = list(_surfaces(name, entry, known))
        surfaces += own
        shapes[name] = tuple(_shape(name, one, own) for one in known)
    mutations: Mapping[str, Mapping[str, Any]] = manifest["mutations"]
    return EdgeMap(
        base_url=manifest["base_url"],
        surfaces=tuple(surfaces),
        shapes=shapes,
        passing=tuple(_passing(manifest)),
        calls={name: tuple(one["affects"]) for name, one in sorted(mutations.items())},
        routes={path_pattern(route): affected for route, affected in _mutation_routes(mutations)},
        harmless=tuple(sorted({one["name"] for entry in contexts.values() for one in entry["functions"]})),
        identity_headers=(
            *manifest["identity"]["headers"],
            *(["Cookie"] if manifest["identity"]["cookies"] else []),
        ),
    )


def path_pattern(route: str) -> str:
    """A pattern of all paths of a route, canonical or not, with and without the final slash."""
    pieces, end = [], 0
    for match in ROUTE_PARAMETER.finditer(route):
        pieces += [re.escape(route[end : match.start()]), "[^?]*" if match[2] == "path" else "[^/?]+"]
        end = match.end()
    return "".join([*pieces, re.escape(route[end:].rstrip("/")), "/?"])


def _known_shapes(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The scope shapes of a context that have a text in every URL, the largest first.

    A list has none: its members are told apart by their types, and a URL has no types. What is narrowed by a list is
    purged by the largest other shape.
    """
    lists = set(entry.get("lists", ()))
    shapes = [tuple(sorted(shape)) for shape in entry["scopes"] if lists.isdisjoint(shape)]
    return sorted(shapes, key=lambda shape: (-len(shape), shape))


def _surfaces(name: str, entry: Mapping[str, Any], shapes: Sequence[tuple[str, ...]]) -> Iterator[Surface]:
    """The bundle and the pages of a context that are for everyone."""
    lists = frozenset(entry.get("lists", ()))
    defaults = {one: encode_text(text) for one, text in entry.get("defaults", {}).items() if one not in lists}
    bundles = [{"route": one, "params": entry["params"]} for one in entry["endpoints"] if entry.get("public")]
    pages = [page for page in entry.get("pages", ()) if page.get("public")]
    for one in (*bundles, *pages):
        path, params = one["route"], tuple(sorted(one["params"]))
        in_path = tuple(match[1] for match in ROUTE_PARAMETER.finditer(path))
        in_query = params if one in bundles else ()
        policy = entry if one in bundles else one
        yield Surface(
            context=name,
            path=path,
            is_page=one in pages,
            params=params,
            in_path=in_path,
            in_query=in_query,
            lists=lists,
            nullable=frozenset(entry.get("nullable", ())),
            filled={param: defaults[param] for param in params if param in defaults and param not in in_path},
            version=f"{policy.get('rev', 0)}.{entry['fingerprint']}",
            templates=tuple(dict.fromkeys(_template(name, shape, params) for shape in reversed(shapes))),
            pattern=(_NO_DOTS if in_path else "") + _path_pattern(path) + _query_pattern(in_query, lists),
        )


def _template(context: str, shape: tuple[str, ...], params: Sequence[str]) -> Template:
    """The tag that a surface with these parameters has for a scope shape."""
    names = tuple(name for name in shape if name in params)
    return Template(context if names == shape else f"{context}/*", names)


def _shape(context: str, names: tuple[str, ...], surfaces: Iterable[Surface]) -> Shape:
    every = (Template(context, names), *(_template(context, names, surface.params) for surface in surfaces))
    return Shape(names, tuple(dict.fromkeys(every)))


def _query_pattern(names: Sequence[str], lists: frozenset[str]) -> str:
    """The pattern of a canonical query: the parameters in their order, each at most once unless it is a list."""
    if not names:
        return ""
    pairs = (f"(?:{re.escape(name)}={TEXT}(?:&(?!$)|$)){'*' if name in lists else '?'}" for name in names)
    return rf"(?:\?(?!$){''.join(pairs)})?"


def _path_pattern(path: str, capture: str | None = None) -> str:
    """The pattern of the paths of a route, with and without the final slash."""
    pieces, end = [], 0
    for match in ROUTE_PARAMETER.finditer(path):
        text = _PARAMETERS.get(match[2] or "", _SEGMENT)
        pieces += [re.escape(path[end : match.start()]), f"({text})" if match[1] == capture else text]
        end = match.end()
    rest = path[end:]
    ending = [re.escape(rest.rstrip("/")), "/?"] if _has_two_spellings(path) else [re.escape(rest)]
    return "".join([*pieces, *ending])


def _has_two_spellings(path: str) -> bool:
    """Where the slash may belong to the text of a parameter, only the spelling that was declared is meant."""
    return path != "/" and not path.rstrip("/").endswith(":path}")


def _passing(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Patterns of paths that are not for everyone, although the route of a page that is may match them too.

    They are those of bundles and calls, of other pages, and of functions that are no readers.
    """
    contexts: Mapping[str, Mapping[str, Any]] = manifest["contexts"]
    public = "|".join(re.escape(name) for name, one in sorted(contexts.items()) if one.get("public"))
    unless = rf"(?!/ctx/(?:{public})/?(?:\?|$))" if public else ""
    yield f"{re.escape(manifest['base_url'])}{unless}/(?:ctx|call)(?:/[^?]*)?"
    pages = {page["route"] for one in contexts.values() for page in one.get("pages", ()) if not page.get("public")}
    yield from (path_pattern(route) for route in sorted({*pages, *manifest.get("routes", ())}))


def _mutation_routes(mutations: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    found: dict[str, dict[str, None]] = {}
    for one in mutations.values():
        if "route" in one:
            found.setdefault(one["route"], {}).update(dict.fromkeys(one["affects"]))
    return ((route, tuple(sorted(found[route]))) for route in sorted(found))


def _check(manifest: Mapping[str, Any]) -> None:
    contexts: Mapping[str, Any] = manifest["contexts"]
    mutations: Mapping[str, Any] = manifest["mutations"]
    names = [*contexts, *mutations]
    paths = [manifest["base_url"]]
    for entry in contexts.values():
        pages = entry.get("pages", ())
        names += [*entry["params"], *(name for shape in entry["scopes"] for name in shape)]
        names += [name for page in pages for name in page["params"]]
        paths += [*entry["endpoints"], *(page["route"] for page in pages)]
    paths += [*(one["route"] for one in mutations.values() if "route" in one), *manifest.get("routes", ())]
    bad = [f"the name {name!r}" for name in dict.fromkeys(names) if not _NAME.fullmatch(name)]
    bad += [f"the path {path!r}" for path in dict.fromkeys(paths) if not _LITERAL.fullmatch(_literal(path))]
    if bad:
        raise DeclarationError(
            f"No edge can be written for {', '.join(bad)}. Names are made of letters, digits, '_', '.' and '-'; paths "
            "of these and of ~!$&()*+,;=:@%/ with parameters in braces."
        )


def _literal(path: str) -> str:
    """A path without its parameters, whose names and convertors are plain words."""
    return ROUTE_PARAMETER.sub(lambda match: "" if _NAME.fullmatch(match[1] + (match[2] or "")) else match[0], path)
