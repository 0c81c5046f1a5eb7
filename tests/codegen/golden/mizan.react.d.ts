// Written by `python -m tests.codegen.golden`. Changes will be lost.
/* eslint-disable */

import * as React from "react";
import type { CallOptions, ParamsOf } from "./client.js";
import type { Contexts, Functions, Mizan } from "./mizan.js";

/** Gives the hooks in the components below it a client, made by `createMizan()`. */
export declare function MizanProvider(props: { mizan: Mizan; children?: React.ReactNode }): React.ReactElement;

/** The client of the nearest provider. */
export declare function useMizan(): Mizan;

/** Show the context `class`; null for its parameters shows nothing. */
export declare function useClass(params?: Contexts["class"]["params"] | null): Shown<"class">;

/** Show the context `inbox`; null for its parameters shows nothing. */
export declare function useInbox(params?: Contexts["inbox"]["params"] | null): Shown<"inbox">;

/** Show the context `inbox_params`; null for its parameters shows nothing. */
export declare function useInboxParams(params?: Contexts["inbox_params"]["params"] | null): Shown<"inbox_params">;

/** Show the context `odd.context-1`; null for its parameters shows nothing. */
export declare function useOddContext1(params: Contexts["odd.context-1"]["params"] | null): Shown<"odd.context-1">;

/** Show the context `class`: suspends until it has arrived, and throws the error if it cannot. */
export declare function useClassSuspense(params?: Contexts["class"]["params"]): Shown<"class", Contexts["class"]["data"]>;

/** Show the context `inbox`: suspends until it has arrived, and throws the error if it cannot. */
export declare function useInboxSuspense(params?: Contexts["inbox"]["params"]): Shown<"inbox", Contexts["inbox"]["data"]>;

/** Show the context `inbox_params`: suspends until it has arrived, and throws the error if it cannot. */
export declare function useInboxParamsSuspense(params?: Contexts["inbox_params"]["params"]): Shown<"inbox_params", Contexts["inbox_params"]["data"]>;

/** Show the context `odd.context-1`: suspends until it has arrived, and throws the error if it cannot. */
export declare function useOddContext1Suspense(params: Contexts["odd.context-1"]["params"]): Shown<"odd.context-1", Contexts["odd.context-1"]["data"]>;

/** Call `__proto__`, and show the progress. */
export declare function useProto(): Mutation<"__proto__">;

/** Call `a.b-c`, and show the progress. */
export declare function useABC(): Mutation<"a.b-c">;

/** Files and other arguments. */
export declare function useAttach(): Mutation<"attach">;

/** Call `attach_if_any`, and show the progress. */
export declare function useAttachIfAny(): Mutation<"attach_if_any">;

/** Call `contexts`, and show the progress. */
export declare function useContexts(): Mutation<"contexts">;

/** Call `delete`, and show the progress. */
export declare function useDelete(): Mutation<"delete">;

/** Call `inbox_`, and show the progress. */
export declare function useInboxCall(): Mutation<"inbox_">;

/** Optional everywhere. */
export declare function useMany(): Mutation<"many">;

/** Call `mwt_obtain`, and show the progress. */
export declare function useMwtObtain(): Mutation<"mwt_obtain">;

/** Call `results`, and show the progress. */
export declare function useResults(): Mutation<"results">;

/** Call `save_account`, and show the progress. */
export declare function useSaveAccount(): Mutation<"save_account">;

/** Call `shapes`, and show the progress. */
export declare function useShapes(): Mutation<"shapes">;

/** Call `standard`, and show the progress. */
export declare function useStandard(): Mutation<"standard">;

/** Call `then`, and show the progress. */
export declare function useThen(): Mutation<"then">;

/** Call `unions`, and show the progress. */
export declare function useUnions(): Mutation<"unions">;

/** A context to show. `data` stays while it is fetched again, and beside an `error`. */
export interface Shown<Name extends keyof Contexts, Data = Contexts[Name]["data"] | undefined> {
  readonly data: Data;
  readonly error: Error | undefined;
  readonly loading: boolean;
  /** Fetch it again. Rejects with a `MizanError`, which is in `error` too, so it need not be handled here. */
  readonly refetch: () => Promise<Contexts[Name]["data"]>;
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
