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
  return useBundle("class", params);
}

export function useInbox(params = {}) {
  return useBundle("inbox", params);
}

export function useInboxParams(params = {}) {
  return useBundle("inbox_params", params);
}

export function useOddContext1(params) {
  return useBundle("odd.context-1", params);
}

export function useClassSuspense(params = {}) {
  return useBundleSuspense("class", params);
}

export function useInboxSuspense(params = {}) {
  return useBundleSuspense("inbox", params);
}

export function useInboxParamsSuspense(params = {}) {
  return useBundleSuspense("inbox_params", params);
}

export function useOddContext1Suspense(params) {
  return useBundleSuspense("odd.context-1", params);
}

export function useProto() {
  return useMutation("__proto__");
}

export function useABC() {
  return useMutation("a.b-c");
}

export function useContexts() {
  return useMutation("contexts");
}

export function useDelete() {
  return useMutation("delete");
}

export function useInboxCall() {
  return useMutation("inbox_");
}

export function useMany() {
  return useMutation("many");
}

export function useMwtObtain() {
  return useMutation("mwt_obtain");
}

export function useResults() {
  return useMutation("results");
}

export function useSaveAccount() {
  return useMutation("save_account");
}

export function useShapes() {
  return useMutation("shapes");
}

export function useStandard() {
  return useMutation("standard");
}

export function useThen() {
  return useMutation("then");
}

export function useUnions() {
  return useMutation("unions");
}

const NOT_SHOWN = { data: undefined, error: undefined, loading: false };

function useBundle(name, params) {
  const { client } = useMizan();
  const key = JSON.stringify(params); // what says the same is the same, whatever object it comes in
  const store = React.useMemo(() => {
    const given = JSON.parse(key);
    return {
      state: () => (given === null ? NOT_SHOWN : client.state(name, given)),
      subscribe: (changed) => (given === null ? () => {} : client.subscribe(name, given, changed)),
      refetch: () => {
        const asked = given === null ? Promise.reject(new Error("Nothing is shown.")) : client.fetch(name, given);
        asked.catch(() => {}); // a failure is shown as the error, so that a button need not handle it
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

function useBundleSuspense(name, params) {
  const { client } = useMizan();
  const { data, ...shown } = useBundle(name, params);
  if (data === undefined) {
    throw shown.error ?? client.load(name, params);
  }
  return { data, ...shown };
}

const NOT_CALLED = { running: 0, error: undefined, result: undefined };

function useMutation(name) {
  const { client } = useMizan();
  const [progress, setProgress] = React.useState(NOT_CALLED);
  const latest = React.useRef(0);
  const actions = React.useMemo(() => {
    const call = async (args, options) => {
      const number = ++latest.current;
      const end = (outcome) =>
        setProgress((old) => ({
          ...old,
          ...(number === latest.current ? outcome : {}), // an older call says nothing any more
          running: old.running - 1,
        }));
      setProgress((old) => ({ ...old, running: old.running + 1 }));
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
