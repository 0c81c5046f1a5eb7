"""Writes `mizan.react.ts`, or `mizan.react.js` and its declarations: a hook for each context and each mutation.

The module imports only types of the client, so the hooks work with any client that a provider was given.
"""

from collections.abc import Iterator

from .api import Api, Bundle, Call
from .modules import Code, Declared, Part, code
from .names import Names, literal, type_name
from .types import tsdoc

# Hooks that every module has. Private ones are named as hooks too, since React's tools recognise a hook by its name.
HOOK_NAMES = frozenset({"useMizan", "useMizanBundle", "useMizanBundleSuspense", "useMizanMutation"})

_CLIENT = """
const MizanContext = React.createContext⟨<Mizan | null>⟩(null);

⟨/** Gives the hooks in the components below it a client, made by `createMizan()`. */
⟩export function MizanProvider(props⟨: { mizan: Mizan; children?: React.ReactNode }⟩)⟨: React.ReactElement⟩ {
  return React.createElement(MizanContext.Provider, { value: props.mizan }, props.children);
}

⟨/** The client of the nearest provider. */
⟩export function useMizan()⟨: Mizan⟩ {
  const mizan = React.useContext(MizanContext);
  if (mizan === null) {
    throw new Error("There is no <MizanProvider mizan={createMizan()}> around this component.");
  }
  return mizan;
}
"""

_CLIENT_DECLARED = """/** Gives the hooks in the components below it a client, made by `createMizan()`. */
export declare function MizanProvider(props: { mizan: Mizan; children?: React.ReactNode }): React.ReactElement;

/** The client of the nearest provider. */
export declare function useMizan(): Mizan;"""

_SHOWN = Declared(
    """/** A context to show. `data` stays while it is fetched again, and beside an `error`. */
export interface Shown<Name extends keyof Contexts, Data = Contexts[Name]["data"] | undefined> {
  readonly data: Data;
  readonly error: Error | undefined;
  readonly loading: boolean;
  /** Fetch it again. Rejects with a `MizanError`, which is in `error` too, so it need not be handled here. */
  readonly refetch: () => Promise<Contexts[Name]["data"]>;
}"""
)

_MUTATION = Declared(
    """/** A function, and the progress of its latest call. */
export interface Mutation<Name extends keyof Functions> {
  /** Call it. Rejects with a `MizanError`. */
  readonly call: (...args: CallArguments<Name>) => Promise<Functions[Name]["result"]>;
  /** Call it. A failure is only shown in `error`. */
  readonly mutate: (...args: CallArguments<Name>) => void;
  readonly pending: boolean;
  readonly error: Error | undefined;
  readonly result: Functions[Name]["result"] | undefined;
  /** Forget the error and the result. */
  readonly reset: () => void;
}

type CallArguments<Name extends keyof Functions> = [
  ...args: ParamsOf<Functions[Name]["args"]>,
  options?: CallOptions<Contexts>,
];"""
)

_USE_BUNDLE = """
const NOT_SHOWN = { data: undefined, error: undefined, loading: false };

/** A replacer for numbers that JSON cannot hold: BigInts and NaN. */
function spelled(_⟨: string⟩, value⟨: unknown⟩)⟨: unknown⟩ {
  return typeof value === "bigint" || typeof value === "number" ? String(value) : value;
}

function useMizanBundle⟨<Name extends keyof Contexts>⟩(name⟨: Name⟩, params⟨: Contexts[Name]["params"] | null⟩) {
  const { client } = useMizan();
  const key = JSON.stringify(params, spelled); // equal parameters are the same, even in a new object
  const store = React.useMemo(() => {
    const given = params === null ? null : { ...params }; // not their JSON: the client refuses what JSON cannot hold
    return {
      state: ()⟨: State<Contexts[Name]["data"]>⟩ => (given === null ? NOT_SHOWN : client.state(name, given)),
      subscribe: (changed⟨: () => void⟩) => (given === null ? () => {} : client.subscribe(name, given, changed)),
      refetch: () => {
        const asked = given === null ? Promise.reject(new Error("Nothing is shown.")) : client.fetch(name, given);
        asked.catch(() => {}); // the failure is shown as `error`, so a button need not handle it
        return asked;
      },
    };
  }, [client, name, key]);
  const state = React.useSyncExternalStore(store.subscribe, store.state, store.state);
  return React.useMemo(() => {
    const isAwaited = key !== "null" && state.data === undefined && state.error === undefined;
    return { ...state, loading: state.loading || isAwaited, refetch: store.refetch };
  }, [key, state, store]);
}

function useMizanBundleSuspense⟨<Name extends keyof Contexts>⟩(name⟨: Name⟩, params⟨: Contexts[Name]["params"]⟩) {
  const { client } = useMizan();
  const { data, ...shown } = useMizanBundle(name, params);
  if (data === undefined) {
    throw shown.error ?? client.load(name, params);
  }
  return { data, ...shown };
}
"""

_USE_MUTATION = """
⟨type Progress<Result> = { running: number; error: Error | undefined; result: Result | undefined };

⟩const NOT_CALLED = { running: 0, error: undefined, result: undefined };

function useMizanMutation⟨<Name extends keyof Functions>⟩(name⟨: Name⟩) {
  const { client } = useMizan();
  const [progress, setProgress] = React.useState⟨<Progress<Functions[Name]["result"]>>⟩(NOT_CALLED);
  const latest = React.useRef(0);
  const actions = React.useMemo(() => {
    const call = async (args⟨?: Functions[Name]["args"]⟩, options⟨?: CallOptions<Contexts>⟩) => {
      const number = ++latest.current;
      const end = (outcome⟨: Partial<Progress<Functions[Name]["result"]>>⟩) =>
        setProgress((old) => ({
          ...old,
          ...(number === latest.current ? outcome : {}), // only the latest call is shown
          running: old.running - 1,
        }));
      setProgress((old) => ({ ...old, error: undefined, running: old.running + 1 }));
      try {
        const result = await client.call(name, args, options);
        end({ error: undefined, result });
        return result;
      } catch (error) {
        end({ error: error instanceof Error ? error : new Error(String(error)) });
        throw error;
      }
    };
    const mutate = (args⟨?: Functions[Name]["args"]⟩, options⟨?: CallOptions<Contexts>⟩) => {
      call(args, options).catch(() => {});
    };
    const reset = () => {
      latest.current++;
      setProgress((old) => ({ ...NOT_CALLED, running: old.running }));
    };
    return { call, mutate, reset };
  }, [client, name]);
  return React.useMemo(() => {
    const { running, error, result } = progress;
    return { pending: running > 0, error, result, ...actions };
  }, [progress, actions]);
}
"""


def react_module(api: Api) -> Iterator[Part]:
    """The parts of the module."""
    hooks = Names(HOOK_NAMES)
    shown = [(one, hooks.take(f"use{type_name(one.name)}", f"use{type_name(one.name)}Context")) for one in api.bundles]
    suspending = [(one, hooks.take(f"use{type_name(one.name)}Suspense")) for one in api.bundles]
    changing = [
        (one, hooks.take(f"use{type_name(one.name)}", f"use{type_name(one.name)}Call"))
        for one in api.calls
        if one.changes
    ]
    yield _imports(shows=bool(shown), changes=bool(changing))
    yield code(_CLIENT, _CLIENT_DECLARED)
    for bundle, hook in shown:
        yield _bundle_hook(bundle, hook)
    for bundle, hook in suspending:
        yield _suspense_hook(bundle, hook)
    for call, hook in changing:
        yield _mutation_hook(call, hook)
    if shown:
        yield _SHOWN
        yield code(_USE_BUNDLE)
    if changing:
        yield _MUTATION
        yield code(_USE_MUTATION)


def _imports(*, shows: bool, changes: bool) -> Code:
    client, react = '"use client";\n\n', 'import * as React from "react";'
    own = ", ".join([*["Contexts"] * (shows or changes), *["Functions"] * changes, "Mizan"])
    state, call = ["State"] * shows, ["CallOptions", "ParamsOf"] * changes

    def importing(names: list[str]) -> str:
        runtime = f'import type {{ {", ".join(sorted(names))} }} from "./client.js";\n' if names else ""
        return f'{react}\n{runtime}import type {{ {own} }} from "./mizan.js";'

    return Code(client + importing([*state, *call]), client + react, importing(call))


def _bundle_hook(bundle: Bundle, hook: str) -> Code:
    name = literal(bundle.name)
    default = "" if _has_required(bundle) else " = {}"
    return _hook(
        f"Show the context `{bundle.name}`; null for its parameters shows nothing.",
        f'{hook}(params{"" if not default else "?"}: Contexts[{name}]["params"] | null): Shown<{name}>',
        f'{hook}(params⟨: Contexts[{name}]["params"] | null⟩{default})⟨: Shown<{name}>⟩',
        f"useMizanBundle({name}, params)",
    )


def _suspense_hook(bundle: Bundle, hook: str) -> Code:
    name = literal(bundle.name)
    default = "" if _has_required(bundle) else " = {}"
    returns = f'Shown<{name}, Contexts[{name}]["data"]>'
    return _hook(
        f"Show the context `{bundle.name}`: suspends until it has arrived, and throws the error if it cannot.",
        f'{hook}(params{"" if not default else "?"}: Contexts[{name}]["params"]): {returns}',
        f'{hook}(params⟨: Contexts[{name}]["params"]⟩{default})⟨: {returns}⟩',
        f"useMizanBundleSuspense({name}, params)",
    )


def _mutation_hook(call: Call, hook: str) -> Code:
    name = literal(call.name)
    doc = call.doc or f"Call `{call.name}`, and show the progress."
    return _hook(doc, f"{hook}(): Mutation<{name}>", f"{hook}()⟨: Mutation<{name}>⟩", f"useMizanMutation({name})")


def _hook(doc: str, signature: str, template: str, returned: str) -> Code:
    comment = tsdoc(doc)
    written = code(f"export function {template} {{\n  return {returned};\n}}")
    return Code(f"{comment}{written.typescript}", written.javascript, f"{comment}export declare function {signature};")


def _has_required(bundle: Bundle) -> bool:
    return any(field.required for field in bundle.parameters)
