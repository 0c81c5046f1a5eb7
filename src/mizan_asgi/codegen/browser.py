"""Writes `mizan.ts`, or `mizan.js` and `mizan.d.ts`: all functions and contexts by name, over the browser runtime."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .api import Api, Bundle, Call, Field
from .modules import Code, Declared, Part, code
from .names import Names, literal, member, type_name
from .types import EMPTY, Types, block, indented, tsdoc

# Types that every module declares, and global types that it uses: no type of the graph gets these names.
TYPE_NAMES = frozenset(
    {"CallOptions", "Client", "ClientOptions", "ContextClient", "Contexts", "Defaults", "Functions", "Invalidation"}
    | {"Mizan", "MizanError", "Nothing", "ParamsOf", "State", "AbortSignal", "Blob", "File", "Partial", "Promise"}
)

# Members that are no functions of the graph. The last four are called by JavaScript itself, and awaiting the client,
# logging it or converting it to JSON must not call the server.
MEMBER_NAMES = frozenset({"client", "contexts", "then", "toJSON", "toString", "valueOf"})

_IMPORTS = Code(
    typescript="""import { createClient } from "./client.js";
import type { CallOptions, Client, ClientOptions, Defaults, ParamsOf, State } from "./client.js";

export { MizanError } from "./client.js";
export type { CallOptions, Client, ClientOptions, Invalidation, State } from "./client.js";""",
    javascript="""import { createClient } from "./client.js";

export { MizanError } from "./client.js";""",
    declaration="""import type { CallOptions, Client, ClientOptions, ParamsOf, State } from "./client.js";

export { MizanError } from "./client.js";
export type { CallOptions, Client, ClientOptions, Invalidation, State } from "./client.js";""",
)

_CONTEXT_CLIENT = Declared(
    """/** A context: fetch its bundle once, or show it as long as there are listeners. */
export interface ContextClient<Params extends object, Bundle> {
  /** The bundle from the server, by its canonical URL. Rejects with a `MizanError`. */
  fetch(...args: [...params: ParamsOf<Params>, options?: { signal?: AbortSignal }]): Promise<Bundle>;
  /** The known bundle; from the server if it is unknown or out of date. */
  load(...params: ParamsOf<Params>): Promise<Bundle>;
  /** The known bundle, without fetching it. */
  state(...params: ParamsOf<Params>): State<Bundle>;
  /** Show the bundle: the listener is called at once and after each change. Returns a function that ends it. */
  subscribe(params: Params, listener: (state: State<Bundle>) => void): () => void;
  /** After a change elsewhere: forget the bundles of these parameters, or all, and fetch the shown ones again. */
  invalidate(scope?: Partial<Params>): void;
}"""
)

_CONTEXT_OF = """
function contextOf⟨<Name extends keyof Contexts>⟩(client⟨: Client<Contexts, Functions>⟩, name⟨: Name⟩) {
  ⟨type Params = Contexts[Name]["params"];
  type Listener = (state: State<Contexts[Name]["data"]>) => void;
  ⟩return {
    fetch: (params⟨?: Params⟩, options⟨?: { signal?: AbortSignal }⟩) => client.fetch(name, params, options),
    load: (params⟨?: Params⟩) => client.load(name, params),
    state: (params⟨?: Params⟩) => client.state(name, params),
    subscribe: (params⟨: Params⟩, listener⟨: Listener⟩) => client.subscribe(name, params, listener),
    invalidate: (scope⟨?: Partial<Params>⟩) => client.invalidate({ context: name, params: { ...scope } }),
  };
}
"""

_CREATE = """
export function createMizan(options⟨: ClientOptions⟩ = {})⟨: Mizan⟩ {
  const client⟨: Client<Contexts, Functions>⟩ = createClient({ baseUrl: $base_url$, defaults, ...options });
  return {
$members$  };
}
"""

_CLIENT_DOC = tsdoc("The client of the runtime, which takes the names of functions and contexts as arguments.")
_CREATE_DOC = tsdoc(
    "Make a client of this server. It keeps bundles, so a server that renders pages makes one for each user."
)


@dataclass(frozen=True, slots=True)
class CallNames:
    """The names generated for a function: the member that calls it, and the type of its arguments."""

    call: Call
    member: str
    arguments: str

    @property
    def parameter(self) -> str:
        return f"args{_optional(self.call.arguments)}: {self.arguments}"


@dataclass(frozen=True, slots=True)
class BundleNames:
    """The names generated for a context: the types of its parameters and of its bundle."""

    bundle: Bundle
    params: str
    data: str


@dataclass(frozen=True, slots=True)
class Naming:
    """All names of a client but those of definitions."""

    calls: tuple[CallNames, ...]
    bundles: tuple[BundleNames, ...]


def naming(api: Api) -> Naming:
    """The names for an API. Definitions take theirs first, then contexts, then functions."""
    types, members = Names({*TYPE_NAMES, *api.definitions}), Names(MEMBER_NAMES)
    bundles = [
        BundleNames(
            bundle,
            types.take(f"{type_name(bundle.name)}Params") if bundle.parameters else "Nothing",
            types.take(f"{type_name(bundle.name)}Bundle"),
        )
        for bundle in api.bundles
    ]
    # Functions with a reserved name come last, so that the name they get instead is not one of another function.
    called = {
        call.name: members.take(call.name, f"{call.name}_")
        for call in sorted(api.calls, key=lambda call: call.name in MEMBER_NAMES)
    }
    calls = [
        CallNames(
            call,
            called[call.name],
            types.take(f"{type_name(call.name)}Args") if call.arguments else "Nothing",
        )
        for call in api.calls
    ]
    return Naming(tuple(calls), tuple(bundles))


def client_module(api: Api, names: Naming) -> Iterator[Part]:
    """The parts of the module, the most useful to a reader first."""
    types = Types(api.definitions)
    yield _IMPORTS
    yield Declared(_mizan(types, names))
    yield _CONTEXT_CLIENT
    yield Declared(_contexts(names))
    yield Declared(_functions(types, names))
    yield Declared(f"{tsdoc('No arguments, or no parameters.')}export type Nothing = {EMPTY};")
    for one in names.bundles:
        if one.bundle.parameters:
            yield Declared(_fields(types, one.params, one.bundle.parameters, f"Parameters of `{one.bundle.name}`."))
        yield Declared(_bundle(types, one))
    for named in names.calls:
        if named.call.arguments:
            yield Declared(_fields(types, named.arguments, named.call.arguments, f"Arguments of `{named.call.name}`."))
    for name in api.definitions:
        yield Declared(types.definition(name))
    yield _defaults(api)
    if names.bundles:
        yield code(_CONTEXT_OF)
    yield _create(api, names)


def _mizan(types: Types, names: Naming) -> str:
    contexts = [
        f"readonly {member(one.bundle.name)}: ContextClient<{one.params}, {one.data}>;" for one in names.bundles
    ]
    members = [
        f"{_CLIENT_DOC}readonly client: Client<Contexts, Functions>;",
        f"readonly contexts: {block(contexts)};",
        *(
            f"{tsdoc(one.call.doc)}{member(one.member)}({one.parameter}, options?: CallOptions<Contexts>): "
            f"Promise<{types.of(one.call.result)}>;"
            for one in names.calls
        ),
    ]
    return f"{tsdoc('All functions and contexts of the server.')}export interface Mizan {block(members)}"


def _contexts(names: Naming) -> str:
    members = [f"{member(one.bundle.name)}: {{ params: {one.params}; data: {one.data} }};" for one in names.bundles]
    return f"{tsdoc('The parameters and the bundle of each context.')}export type Contexts = {block(members)};"


def _functions(types: Types, names: Naming) -> str:
    members = [
        f"{member(one.call.name)}: {{ args: {one.arguments}; result: {types.of(one.call.result)} }};"
        for one in names.calls
    ]
    return f"{tsdoc('The arguments and the result of each function.')}export type Functions = {block(members)};"


def _fields(types: Types, name: str, fields: Iterable[Field], doc: str) -> str:
    return f"{tsdoc(doc)}export interface {name} {block(map(types.field, fields))}"


def _bundle(types: Types, one: BundleNames) -> str:
    members = [types.member(reader.name, reader.result, doc=reader.doc) for reader in one.bundle.members]
    return f"{tsdoc(f'The bundle of `{one.bundle.name}`.')}export interface {one.data} {block(members)}"


def _defaults(api: Api) -> Code:
    members = []
    for bundle in api.bundles:
        known = [
            f"{member(field.name)}: {_default(field.default)}" for field in bundle.parameters if not field.required
        ]
        if known:
            members.append(f"{member(bundle.name)}: {{ {', '.join(known)} }},")
    return code("const defaults⟨: Defaults⟩ = $defaults$;", defaults=block(members) if members else "{}")


def _default(value: object) -> str:
    """A default in JavaScript. An integer that JavaScript would round is written as its canonical text."""
    is_long = isinstance(value, int) and abs(value) >= 2**53
    return literal(str(value) if is_long else value)


def _create(api: Api, names: Naming) -> Code:
    contexts = [f"{member(one.bundle.name)}: contextOf(client, {literal(one.bundle.name)})," for one in names.bundles]
    members = [
        "client,",
        f"contexts: {block(contexts) if contexts else '{}'},",
        *(
            f"{member(one.member)}: (args, options) => client.call({literal(one.call.name)}, args, options),"
            for one in names.calls
        ),
    ]
    text = code(
        _CREATE, base_url=literal(api.base_url), members="".join(indented(one) for one in _lines_indented(members))
    )
    return Code(
        f"{_CREATE_DOC}{text.typescript}",
        text.javascript,
        f"{_CREATE_DOC}export declare function createMizan(options?: ClientOptions): Mizan;",
    )


def _lines_indented(members: Iterable[str]) -> Iterator[str]:
    for one in members:
        yield indented(one).removesuffix("\n")


def _optional(fields: Iterable[Field]) -> str:
    return "" if any(field.required for field in fields) else "?"
