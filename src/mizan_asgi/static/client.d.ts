/**
 * The browser runtime of Mizan: fetches bundles, calls functions, and refreshes exactly what a mutation made stale.
 *
 * A plain ES module without dependencies. `Contexts` and `Functions` type it; `mizan generate ts` writes both.
 */

/**
 * Parameters of a context, or arguments of a function, by name. Undefined ones are left out, and null parameters too.
 *
 * Values are JSON values, BigInts, Dates, and objects with `toJSON`. Any other value, such as a `File`, a `Map`, NaN or
 * an instance of a class, is refused with a `TypeError`. Values are compared by canonical text, so give them in their
 * declared types.
 */
export type Params = Readonly<Record<string, unknown>>;

/** The parameters and the bundle of each context, by name: a type like this, or an interface. */
export type ContextMap<Name extends PropertyKey = string> = Record<Name, { params: object; data: unknown }>;

/** The arguments and the result of each function, by name: a type like this, or an interface. */
export type FunctionMap<Name extends PropertyKey = string> = Record<Name, { args: object; result: unknown }>;

/** An entry of a call's `invalidate` (protocol, section 3). A function stands for its whole context. */
export type Invalidation = string | { context: string; params?: Params | undefined; function?: string | undefined };

/** A defect of the input, and the field that has it. */
export interface FieldError {
  loc: (string | number)[];
  msg: string;
  type: string;
}

/** A problem document (RFC 9457; protocol, section 10), or another error answer (`code` is then "http_error"). */
export class MizanError extends Error {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly errors: readonly FieldError[];
}

/**
 * The current state of a bundle. Immutable: the same object as long as nothing changed.
 *
 * `data` stays while it is fetched again, and beside the `error` of a failed fetch. An error is dropped when the bundle
 * becomes stale. `loading`: a fetch is under way.
 */
export interface State<Data> {
  readonly data: Data | undefined;
  readonly error: Error | undefined;
  readonly loading: boolean;
}

/**
 * The defaults of each context's parameters, for canonical URLs. Parameters without a default are left out.
 *
 * A null tells that the parameter is null if it is not given, so that no scope with a value for it touches the bundle.
 */
export type Defaults = Readonly<Record<string, Params>>;

type Token = string | null | undefined;

export interface ClientOptions {
  /** Where the server is mounted: a path or an absolute URL. Default: "/api/mizan". */
  baseUrl?: string | undefined;
  /**
   * Sent as `X-Mizan-Token`. A function is called before each request, so that it can renew the token.
   *
   * Requests that wait for it at the same time share one call. With this client, it may call `mwt_obtain`, which is
   * sent without a token, and nothing else.
   */
  token?: Token | (() => Token | Promise<Token>);
  /** Defaults of each context's parameters; a generated client passes them. Parameters equal to theirs are not sent. */
  defaults?: Defaults | undefined;
  /** Milliseconds for which a bundle is kept after its last subscription ended. Default: 30 000. */
  keep?: number | undefined;
  /** Fetch the shown bundles again when the window gets the focus. Default: false. */
  refetchOnFocus?: boolean | undefined;
  /** Fetch the shown bundles again when the browser is online again. Default: false. */
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
 * It is applied to the data of the server until the call has been answered and the data after the call have arrived;
 * if the server refuses the call, it is dropped at once. `update` returns new data and does not change the old. It runs
 * again on each answer that arrives before, which may already contain the change: set a value rather than add to it.
 */
export interface Optimistic<C extends ContextMap<keyof C>, K extends keyof C = keyof C> {
  context: K;
  params?: C[K]["params"] | undefined;
  update: (data: C[K]["data"]) => C[K]["data"];
}

/** An `Optimistic` of any context: the type of its data follows from its name. */
export type AnyOptimistic<C extends ContextMap<keyof C>> = { [K in keyof C]: Optimistic<C, K> }[keyof C];

export interface CallOptions<C extends ContextMap<keyof C> = ContextMap> {
  optimistic?: AnyOptimistic<C> | readonly AnyOptimistic<C>[] | undefined;
  /** Aborts only the waiting: the call goes on, and bundles that it makes stale are refreshed. */
  signal?: AbortSignal | undefined;
}

/** The parameters, optional as a whole if none of them is required. */
export type ParamsOf<P> = string extends keyof P ? [params?: P] : Partial<P> extends P ? [params?: P] : [params: P];

export interface Client<C extends ContextMap<keyof C> = ContextMap, F extends FunctionMap<keyof F> = FunctionMap> {
  /**
   * The bundle from the server, by its canonical URL. Simultaneous fetches of one bundle share one request.
   *
   * Rejects with a `MizanError` if the server answers with an error, and with the error of the browser's `fetch` if
   * there is no answer.
   */
  fetch<K extends keyof C & string>(
    context: K,
    params?: C[K]["params"],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<C[K]["data"]>;
  /**
   * The known bundle; from the server if it is unknown or out of date. Until it changes, always the same promise.
   *
   * An error is kept as well, until the bundle becomes stale, `fetch` is called, or a new subscription begins. As with
   * `fetch`, the data are the server's: only `state` shows optimistic changes.
   */
  load<K extends keyof C & string>(context: K, params?: C[K]["params"]): Promise<C[K]["data"]>;
  /**
   * Call a function (`POST /call/{name}/`) and refresh the bundles that it made stale.
   *
   * Rejects as `fetch` does. If the answer is lost, the call may have had any effect: all shown bundles are fetched
   * again.
   */
  call<K extends keyof F & string>(
    name: K,
    args?: F[K]["args"],
    options?: CallOptions<C>,
  ): Promise<F[K]["result"]>;
  /** Show a bundle: the listener is called at once and after each change. Returns a function that ends it. */
  subscribe<K extends keyof C & string>(
    context: K,
    params: C[K]["params"] | undefined,
    listener: (state: State<C[K]["data"]>) => void,
  ): () => void;
  /** The known state of a bundle, mounted or not, without fetching it. */
  state<K extends keyof C & string>(context: K, params?: C[K]["params"]): State<C[K]["data"]>;
  /**
   * Forget the bundles that these touch, also their errors, and fetch the shown ones again. Other tabs do the same.
   *
   * A null parameter touches bundles in which it is null; an undefined one, all values.
   */
  invalidate(...invalidations: Invalidation[]): void;
  /**
   * The caller has changed: forget all bundles and fetch the shown ones again, here and in other tabs.
   *
   * Without a new `token`, a token function is still called, but a text is not sent any more; in other tabs as well.
   */
  identify(token?: ClientOptions["token"]): void;
  /** End all subscriptions and requests for bundles. Calls under way go on. */
  close(): void;
}

export function createClient<
  C extends ContextMap<keyof C> = ContextMap,
  F extends FunctionMap<keyof F> = FunctionMap,
>(options?: ClientOptions): Client<C, F>;

/** The canonical text of a value (protocol, section 2). Throws a `TypeError` for what JSON cannot hold. */
export function canonical(value: unknown): string;

/** The invalidations in `X-Mizan-Invalidate`, with texts as values (protocol, section 5). Throws if it is malformed. */
export function decodeHeader(line: string): Exclude<Invalidation, string>[];

/**
 * Whether an invalidation makes the bundle with these canonical texts stale.
 *
 * A parameter that `texts` lacks may have any value.
 */
export function touches(
  invalidation: Invalidation,
  context: string,
  texts: ReadonlyMap<string, string | null>,
): boolean;
