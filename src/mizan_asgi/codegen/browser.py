"""`mizan.ts`, or `mizan.js` and `mizan.d.ts`: every function and context by its name, over the browser runtime."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .api import Api, Bundle, Call, Field
from .modules import Code, Declared, Part, code
from .names import Names, literal, member, type_name
from .types import EMPTY, Types, block, indented, tsdoc

# Names of types that the module has besides those of the graph, and of global ones that it uses.
TYPE_NAMES = frozenset(
    {"CallOptions", "Client", "ClientOptions", "ContextClient", "Contexts", "Defaults", "Functions", "Invalidation"}
    | {"Mizan", "MizanError", "Nothing", "ParamsOf", "State", "AbortSignal", "Partial", "Promise"}
)

# What the client has besides functions, and what JavaScript itself calls of an object that has it: to await the client,
# to log it or to make JSON of it must not call the server.
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
    """/** A context: its bundle fetched once, or shown for as long as somebody listens. */
export interface ContextClient<Params extends object, Bundle> {
  /** The bundle from the server, by its canonical URL. Rejects with a `MizanError`. */
  fetch(...args: [...params: ParamsOf<Params>, options?: { signal?: AbortSignal }]): Promise<Bundle>;
  /** The bundle as it is known, or from the server where it is not or is out of date. */
  load(...params: ParamsOf<Params>): Promise<Bundle>;
  /** The bundle as it is known now, without fetching it. */
  state(...params: ParamsOf<Params>): State<Bundle>;
  /** Show the bundle: told at once and of every change. Returns what ends it. */
  subscribe(params: Params, listener: (state: State<Bundle>) => void): () => void;
  /** What was changed elsewhere: forget the bundles of these parameters, or all, and fetch again what is shown. */
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

_CLIENT_DOC = tsdoc("The runtime below, which takes functions and contexts by their names.")
_CREATE_DOC = tsdoc("A client of this server. Make one for a page, and another for whom must not share what it knows.")


@dataclass(frozen=True, slots=True)
class CallNames:
    """How a function's things are called: the member that calls it and the type of its arguments."""

    call: Call
    member: str
    arguments: str

    @property
    def parameter(self) -> str:
        return f"args{_optional(self.call.arguments)}: {self.arguments}"


@dataclass(frozen=True, slots=True)
class BundleNames:
    """How a context's things are called: the types of its parameters and of its bundle."""

    bundle: Bundle
    params: str
    data: str


@dataclass(frozen=True, slots=True)
class Naming:
    """Every name of a client that is not a definition's."""

    calls: tuple[CallNames, ...]
    bundles: tuple[BundleNames, ...]


def naming(api: Api) -> Naming:
    """Definitions have the first choice of names, then contexts, then functions."""
    types, members = Names({*TYPE_NAMES, *api.definitions}), Names(MEMBER_NAMES)
    bundles = [
        BundleNames(
            bundle,
            types.take(f"{type_name(bundle.name)}Params") if bundle.parameters else "Nothing",
            types.take(f"{type_name(bundle.name)}Bundle"),
        )
        for bundle in api.bundles
    ]
    # Functions that keep their names come before those that give way.
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
    """The parts of the module, the most interesting first."""
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
    return f"{tsdoc('Every function and every context of the server.')}export interface Mizan {block(members)}"


def _contexts(names: Naming) -> str:
    members = [f"{member(one.bundle.name)}: {{ params: {one.params}; data: {one.data} }};" for one in names.bundles]
    return f"{tsdoc('What each context takes and holds.')}export type Contexts = {block(members)};"


def _functions(types: Types, names: Naming) -> str:
    members = [
        f"{member(one.call.name)}: {{ args: {one.arguments}; result: {types.of(one.call.result)} }};"
        for one in names.calls
    ]
    return f"{tsdoc('What each function takes and returns.')}export type Functions = {block(members)};"


def _fields(types: Types, name: str, fields: Iterable[Field], doc: str) -> str:
    return f"{tsdoc(doc)}export interface {name} {block(map(types.field, fields))}"


def _bundle(types: Types, one: BundleNames) -> str:
    members = [types.member(reader.name, reader.result, doc=reader.doc) for reader in one.bundle.members]
    return f"{tsdoc(f'What `{one.bundle.name}` holds.')}export interface {one.data} {block(members)}"


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
    """A default as the runtime compares it, by its canonical text: that of a number which JavaScript would round."""
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
