// Written by `python -m tests.codegen.golden`. Changes will be lost.
/* eslint-disable */

"use client";

import * as React from "react";

const MizanContext = React.createContext(null);

export function MizanProvider(props) {
  return React.createElement(MizanContext.Provider, { value: props.mizan }, props.children);
}

export function useMizan() {
  const mizan = React.useContext(MizanContext);
  if (mizan === null) {
    throw new Error("There is no <MizanProvider mizan={createMizan()}> around this component.");
  }
  return mizan;
}

export function useClass(params = {}) {
  return useMizanBundle("class", params);
}

export function useInbox(params = {}) {
  return useMizanBundle("inbox", params);
}

export function useInboxParams(params = {}) {
  return useMizanBundle("inbox_params", params);
}

export function useOddContext1(params) {
  return useMizanBundle("odd.context-1", params);
}

export function useClassSuspense(params = {}) {
  return useMizanBundleSuspense("class", params);
}

export function useInboxSuspense(params = {}) {
  return useMizanBundleSuspense("inbox", params);
}

export function useInboxParamsSuspense(params = {}) {
  return useMizanBundleSuspense("inbox_params", params);
}

export function useOddContext1Suspense(params) {
  return useMizanBundleSuspense("odd.context-1", params);
}

export function useProto() {
  return useMizanMutation("__proto__");
}

export function useABC() {
  return useMizanMutation("a.b-c");
}

export function useAttach() {
  return useMizanMutation("attach");
}

export function useAttachIfAny() {
  return useMizanMutation("attach_if_any");
}

export function useContexts() {
  return useMizanMutation("contexts");
}

export function useDelete() {
  return useMizanMutation("delete");
}

export function useInboxCall() {
  return useMizanMutation("inbox_");
}

export function useMany() {
  return useMizanMutation("many");
}

export function useMwtObtain() {
  return useMizanMutation("mwt_obtain");
}

export function useResults() {
  return useMizanMutation("results");
}

export function useSaveAccount() {
  return useMizanMutation("save_account");
}

export function useShapes() {
  return useMizanMutation("shapes");
}

export function useStandard() {
  return useMizanMutation("standard");
}

export function useThen() {
  return useMizanMutation("then");
}

export function useUnions() {
  return useMizanMutation("unions");
}

const NOT_SHOWN = { data: undefined, error: undefined, loading: false };

/** A replacer for numbers that JSON cannot hold: BigInts and NaN. */
function spelled(_, value) {
  return typeof value === "bigint" || typeof value === "number" ? String(value) : value;
}

function useMizanBundle(name, params) {
  const { client } = useMizan();
  const key = JSON.stringify(params, spelled); // equal parameters are the same, even in a new object
  const store = React.useMemo(() => {
    const given = params === null ? null : { ...params }; // not their JSON: the client refuses what JSON cannot hold
    return {
      state: () => (given === null ? NOT_SHOWN : client.state(name, given)),
      subscribe: (changed) => (given === null ? () => {} : client.subscribe(name, given, changed)),
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

function useMizanBundleSuspense(name, params) {
  const { client } = useMizan();
  const { data, ...shown } = useMizanBundle(name, params);
  if (data === undefined) {
    throw shown.error ?? client.load(name, params);
  }
  return { data, ...shown };
}

const NOT_CALLED = { running: 0, error: undefined, result: undefined };

function useMizanMutation(name) {
  const { client } = useMizan();
  const [progress, setProgress] = React.useState(NOT_CALLED);
  const latest = React.useRef(0);
  const actions = React.useMemo(() => {
    const call = async (args, options) => {
      const number = ++latest.current;
      const end = (outcome) =>
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
    const mutate = (args, options) => {
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
