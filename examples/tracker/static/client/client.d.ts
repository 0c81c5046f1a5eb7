/**
 * The browser runtime of Mizan: fetches bundles, calls functions, and refreshes exactly what a mutation made stale.
 *
 * A plain ES module without dependencies. `Contexts` and `Functions` type it; `mizan generate ts` writes both.
 */

/**
 * Parameters of a context, or arguments of a function, by name. Undefined ones are left out, and null parameters too.
 *
 * Values are JSON values, BigInts, Dates, and what has a `toJSON`. Anything else, such as a `File`, a `Map`, NaN or an
 * instance of a class, is refused with a `TypeError`. They are compared by canonical text, so give them in their
 * declared types.
 */
export type Params = Readonly<Record<string, unknown>>;

/** What each context takes and answers, by name: a type like this, or an interface. */
export type ContextMap<Name extends PropertyKey = string> = Record<Name, { params: object; data: unknown }>;

/** What each function takes and answers, by name: a type like this, or an interface. */
export type FunctionMap<Name extends PropertyKey = string> = Record<Name, { args: object; result: unknown }>;

/** An entry of a call's `invalidate` (protocol, section 3). A function stands for its whole context, null for null. */
export type Invalidation = string | { context: string; params?: Params | undefined; function?: string | undefined };

/** What a field of the input has against it. */
export interface FieldError {
  loc: (string | number)[];
  msg: string;
  type: string;
}

/** A problem document (RFC 9457; protocol, section 10), or an answer that was none (`code` is then "http_error"). */
export class MizanError extends Error {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly errors: readonly FieldError[];
}

/**
 * A mounted context as it is now. Immutable: the same object as long as nothing changed.
 *
 * `data` stays while it is fetched again, and beside the `error` of a failed fetch. An error goes when the bundle is
 * stale. `loading`: a fetch is under way.
 */
export interface State<Data> {
  readonly data: Data | undefined;
  readonly error: Error | undefined;
  readonly loading: boolean;
}

/**
 * What a context's defaults are, for canonical URLs: only the parameters that have one.
 *
 * A null says that the parameter is null where it is left out, so that no scope with a value for it touches the bundle.
 */
export type Defaults = Readonly<Record<string, Params>>;

type Token = string | null | undefined;

export interface ClientOptions {
  /** Where the server is mounted: a path or an absolute URL. Default: "/api/mizan". */
  baseUrl?: string | undefined;
  /**
   * Sent as `X-Mizan-Token`; a function is asked before each request, so that it may renew the token.
   *
   * Requests that wait for it ask it once. It may call `mwt_obtain`, which is sent without a token, and nothing else.
   */
  token?: Token | (() => Token | Promise<Token>);
  /** Defaults of each context's parameters; a generated client passes them. Those left out are never sent. */
  defaults?: Defaults | undefined;
  /** Milliseconds for which a bundle that nobody shows any more is kept. Default: 30 000. */
  keep?: number | undefined;
  /** Fetch what is shown again when the window gets the focus. Default: false. */
  refetchOnFocus?: boolean | undefined;
  /** Fetch what is shown again when the browser is online again. Default: false. */
  refetchOnReconnect?: boolean | undefined;
  /**
   * Name of the `BroadcastChannel` that tells other tabs, and `elements.js` on this page; false for none.
   *
   * Default: "mizan:" and the base URL, without the page's own origin.
   */
  channel?: string | false | undefined;
  /** Bundles that are known already, from a server-rendered page. */
  initial?: readonly { context: string; params?: Params | undefined; data: unknown }[] | undefined;
}

/**
 * A change shown before the server has confirmed it.
 *
 * It stays over whatever arrives until the call has been answered and the data that came of it has arrived too; where
 * the server refuses, it goes at once. `update` returns the new data and leaves the old as it was. It runs again over
 * each answer that arrives meanwhile, which may contain the change already: put in place rather than add.
 */
export interface Optimistic<C extends ContextMap<keyof C>, K extends keyof C = keyof C> {
  context: K;
  params?: C[K]["params"] | undefined;
  update: (data: C[K]["data"]) => C[K]["data"];
}

/** One `Optimistic` for some context, the types of its data following from its name. */
export type AnyOptimistic<C extends ContextMap<keyof C>> = { [K in keyof C]: Optimistic<C, K> }[keyof C];

export interface CallOptions<C extends ContextMap<keyof C> = ContextMap> {
  optimistic?: AnyOptimistic<C> | readonly AnyOptimistic<C>[] | undefined;
  /** Aborts the waiting only: the call goes on, and what it makes stale is refreshed. */
  signal?: AbortSignal | undefined;
}

/** Parameters may be left out altogether where none is required. */
export type ParamsOf<P> = string extends keyof P ? [params?: P] : Partial<P> extends P ? [params?: P] : [params: P];

export interface Client<C extends ContextMap<keyof C> = ContextMap, F extends FunctionMap<keyof F> = FunctionMap> {
  /**
   * The bundle from the server, by its canonical URL. Asked twice at once, it is sent once.
   *
   * Rejects: `MizanError` as the server put it; what went wrong on the way is the error of the browser's `fetch`.
   */
  fetch<K extends keyof C & string>(
    context: K,
    params?: C[K]["params"],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<C[K]["data"]>;
  /**
   * The bundle as it is known, or, where it is not or is out of date, from the server. The same promise meanwhile.
   *
   * A failure is known as well, until something makes the bundle stale, `fetch` asks again, or somebody new shows it.
   * Like that of `fetch`, the data is the server's: optimistic changes are in `state` alone.
   */
  load<K extends keyof C & string>(context: K, params?: C[K]["params"]): Promise<C[K]["data"]>;
  /**
   * Call a function (`POST /call/{name}/`) and refresh what it made stale.
   *
   * Rejects as `fetch` does. Where the answer was lost nobody knows what it did, so everything shown is fetched again.
   */
  call<K extends keyof F & string>(
    name: K,
    args?: F[K]["args"],
    options?: CallOptions<C>,
  ): Promise<F[K]["result"]>;
  /** Show a context: told at once and of every change. Returns what ends it. */
  subscribe<K extends keyof C & string>(
    context: K,
    params: C[K]["params"] | undefined,
    listener: (state: State<C[K]["data"]>) => void,
  ): () => void;
  /** A context as it is known now, mounted or not, without fetching it. */
  state<K extends keyof C & string>(context: K, params?: C[K]["params"]): State<C[K]["data"]>;
  /**
   * Forget at once what these touch, failures too, and fetch again what of it is shown; other tabs are told.
   *
   * A null parameter stands for the bundles where it is null, an undefined one for any value.
   */
  invalidate(...invalidations: Invalidation[]): void;
  /**
   * Who asks has changed: forget everything, here and in other tabs; what is shown is fetched anew.
   *
   * Without a new `token`, a function goes on being asked and a text is not sent any more. So it is in other tabs.
   */
  identify(token?: ClientOptions["token"]): void;
  /** End every subscription and every request for a bundle. Calls under way go on. */
  close(): void;
}

export function createClient<
  C extends ContextMap<keyof C> = ContextMap,
  F extends FunctionMap<keyof F> = FunctionMap,
>(options?: ClientOptions): Client<C, F>;

/** The canonical text of a value (protocol, section 2). Throws a `TypeError` for what JSON cannot hold. */
export function canonical(value: unknown): string;

/** What `X-Mizan-Invalidate` names, with texts as values (protocol, section 5). Throws where that is not clear. */
export function decodeHeader(line: string): Exclude<Invalidation, string>[];

/** Whether an invalidation makes the bundle with these canonical texts stale. What `texts` lacks may be anything. */
export function touches(
  invalidation: Invalidation,
  context: string,
  texts: ReadonlyMap<string, string | null>,
): boolean;
