// Written by `python -m tests.codegen.golden`. Changes will be lost.
/* eslint-disable */

"use client";

import * as React from "react";
import type { CallOptions, ParamsOf, State } from "./client.js";
import type { Contexts, Functions, Mizan } from "./mizan.js";

const MizanContext = React.createContext<Mizan | null>(null);

/** Gives the hooks in the components below it a client, made by `createMizan()`. */
export function MizanProvider(props: { mizan: Mizan; children?: React.ReactNode }): React.ReactElement {
  return React.createElement(MizanContext.Provider, { value: props.mizan }, props.children);
}

/** The client of the nearest provider. */
export function useMizan(): Mizan {
  const mizan = React.useContext(MizanContext);
  if (mizan === null) {
    throw new Error("There is no <MizanProvider mizan={createMizan()}> around this component.");
  }
  return mizan;
}

/** Show the context `class`; null for its parameters shows nothing. */
export function useClass(params: Contexts["class"]["params"] | null = {}): Shown<"class"> {
  return useMizanBundle("class", params);
}

/** Show the context `inbox`; null for its parameters shows nothing. */
export function useInbox(params: Contexts["inbox"]["params"] | null = {}): Shown<"inbox"> {
  return useMizanBundle("inbox", params);
}

/** Show the context `inbox_params`; null for its parameters shows nothing. */
export function useInboxParams(params: Contexts["inbox_params"]["params"] | null = {}): Shown<"inbox_params"> {
  return useMizanBundle("inbox_params", params);
}

/** Show the context `odd.context-1`; null for its parameters shows nothing. */
export function useOddContext1(params: Contexts["odd.context-1"]["params"] | null): Shown<"odd.context-1"> {
  return useMizanBundle("odd.context-1", params);
}

/** Show the context `class`: suspends until it has arrived, and throws the error if it cannot. */
export function useClassSuspense(params: Contexts["class"]["params"] = {}): Shown<"class", Contexts["class"]["data"]> {
  return useMizanBundleSuspense("class", params);
}

/** Show the context `inbox`: suspends until it has arrived, and throws the error if it cannot. */
export function useInboxSuspense(params: Contexts["inbox"]["params"] = {}): Shown<"inbox", Contexts["inbox"]["data"]> {
  return useMizanBundleSuspense("inbox", params);
}

/** Show the context `inbox_params`: suspends until it has arrived, and throws the error if it cannot. */
export function useInboxParamsSuspense(params: Contexts["inbox_params"]["params"] = {}): Shown<"inbox_params", Contexts["inbox_params"]["data"]> {
  return useMizanBundleSuspense("inbox_params", params);
}

/** Show the context `odd.context-1`: suspends until it has arrived, and throws the error if it cannot. */
export function useOddContext1Suspense(params: Contexts["odd.context-1"]["params"]): Shown<"odd.context-1", Contexts["odd.context-1"]["data"]> {
  return useMizanBundleSuspense("odd.context-1", params);
}

/** Call `__proto__`, and show the progress. */
export function useProto(): Mutation<"__proto__"> {
  return useMizanMutation("__proto__");
}

/** Call `a.b-c`, and show the progress. */
export function useABC(): Mutation<"a.b-c"> {
  return useMizanMutation("a.b-c");
}

/** Files and other arguments. */
export function useAttach(): Mutation<"attach"> {
  return useMizanMutation("attach");
}

/** Call `attach_if_any`, and show the progress. */
export function useAttachIfAny(): Mutation<"attach_if_any"> {
  return useMizanMutation("attach_if_any");
}

/** Call `contexts`, and show the progress. */
export function useContexts(): Mutation<"contexts"> {
  return useMizanMutation("contexts");
}

/** Call `delete`, and show the progress. */
export function useDelete(): Mutation<"delete"> {
  return useMizanMutation("delete");
}

/** Call `inbox_`, and show the progress. */
export function useInboxCall(): Mutation<"inbox_"> {
  return useMizanMutation("inbox_");
}

/** Optional everywhere. */
export function useMany(): Mutation<"many"> {
  return useMizanMutation("many");
}

/** Call `mwt_obtain`, and show the progress. */
export function useMwtObtain(): Mutation<"mwt_obtain"> {
  return useMizanMutation("mwt_obtain");
}

/** Call `results`, and show the progress. */
export function useResults(): Mutation<"results"> {
  return useMizanMutation("results");
}

/** Call `save_account`, and show the progress. */
export function useSaveAccount(): Mutation<"save_account"> {
  return useMizanMutation("save_account");
}

/** Call `shapes`, and show the progress. */
export function useShapes(): Mutation<"shapes"> {
  return useMizanMutation("shapes");
}

/** Call `standard`, and show the progress. */
export function useStandard(): Mutation<"standard"> {
  return useMizanMutation("standard");
}

/** Call `then`, and show the progress. */
export function useThen(): Mutation<"then"> {
  return useMizanMutation("then");
}

/** Call `unions`, and show the progress. */
export function useUnions(): Mutation<"unions"> {
  return useMizanMutation("unions");
}

/** A context to show. `data` stays while it is fetched again, and beside an `error`. */
export interface Shown<Name extends keyof Contexts, Data = Contexts[Name]["data"] | undefined> {
  readonly data: Data;
  readonly error: Error | undefined;
  readonly loading: boolean;
  /** Fetch it again. Rejects with a `MizanError`, which is in `error` too, so it need not be handled here. */
  readonly refetch: () => Promise<Contexts[Name]["data"]>;
}

const NOT_SHOWN = { data: undefined, error: undefined, loading: false };

/** A replacer for numbers that JSON cannot hold: BigInts and NaN. */
function spelled(_: string, value: unknown): unknown {
  return typeof value === "bigint" || typeof value === "number" ? String(value) : value;
}

function useMizanBundle<Name extends keyof Contexts>(name: Name, params: Contexts[Name]["params"] | null) {
  const { client } = useMizan();
  const key = JSON.stringify(params, spelled); // equal parameters are the same, even in a new object
  const store = React.useMemo(() => {
    const given = params === null ? null : { ...params }; // not their JSON: the client refuses what JSON cannot hold
    return {
      state: (): State<Contexts[Name]["data"]> => (given === null ? NOT_SHOWN : client.state(name, given)),
      subscribe: (changed: () => void) => (given === null ? () => {} : client.subscribe(name, given, changed)),
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

function useMizanBundleSuspense<Name extends keyof Contexts>(name: Name, params: Contexts[Name]["params"]) {
  const { client } = useMizan();
  const { data, ...shown } = useMizanBundle(name, params);
  if (data === undefined) {
    throw shown.error ?? client.load(name, params);
  }
  return { data, ...shown };
}

/** A function, and the progress of its latest call. */
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
];

type Progress<Result> = { running: number; error: Error | undefined; result: Result | undefined };

const NOT_CALLED = { running: 0, error: undefined, result: undefined };

function useMizanMutation<Name extends keyof Functions>(name: Name) {
  const { client } = useMizan();
  const [progress, setProgress] = React.useState<Progress<Functions[Name]["result"]>>(NOT_CALLED);
  const latest = React.useRef(0);
  const actions = React.useMemo(() => {
    const call = async (args?: Functions[Name]["args"], options?: CallOptions<Contexts>) => {
      const number = ++latest.current;
      const end = (outcome: Partial<Progress<Functions[Name]["result"]>>) =>
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
    const mutate = (args?: Functions[Name]["args"], options?: CallOptions<Contexts>) => {
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
