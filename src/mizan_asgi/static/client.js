/**
 * The browser runtime of Mizan: fetches bundles, calls functions, and refreshes exactly what a mutation made stale.
 *
 * A plain ES module without dependencies. `client.d.ts` beside it documents every option and method. One rule runs
 * through everything: an invalidation overtakes the requests that began before it, and the answer to an overtaken
 * request is never shown.
 */

/** Servers and proxies commonly refuse header lines between 4 and 8 KiB. */
const MAXIMUM_MOUNTED_BYTES = 4096;

/** The longest delay of `setTimeout`. A timer with a longer one fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The built-in function that issues a token for a session. It is called without a token, which it would refuse. */
const OBTAIN = "mwt_obtain";

/** In place of a list of invalidations: all bundles may be stale. */
const EVERYTHING = null;

/** The state of a bundle that was never fetched. */
const UNKNOWN = Object.freeze({ data: undefined, error: undefined, loading: false });

/** The error for a problem document, or for an answer of another form. */
export class MizanError extends Error {
  constructor(status, body) {
    const problem = isProblem(status, body) ? body : { code: "http_error", title: `HTTP ${status}` };
    super(problem.detail || problem.title);
    this.name = "MizanError";
    this.status = status;
    this.code = problem.code;
    this.title = problem.title;
    this.errors = problem.errors ?? [];
  }
}

/** Makes a client of the server mounted at `baseUrl`. */
export function createClient(options = {}) {
  return new Client(options);
}

/** The canonical text of a value (protocol, section 2). */
export function canonical(value) {
  return textOf(value ?? null, "The value");
}

/** The invalidations in `X-Mizan-Invalidate`, with texts as values (protocol, section 5). Throws if it is malformed. */
export function decodeHeader(line) {
  const members = line.split(",").map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ""));
  return members.filter(Boolean).map(decodeEntry);
}

/**
 * Whether an invalidation makes the bundle with these canonical texts stale.
 *
 * A parameter that `texts` lacks may have any value. A null in `texts` or in the invalidation equals only null.
 */
export function touches(invalidation, context, texts) {
  const entry = typeof invalidation === "string" ? { context: invalidation } : invalidation;
  const mayEqual = ([name, value]) => {
    if (value === undefined || !texts.has(name)) return true;
    if (value === null) return texts.get(name) === null;
    return texts.get(name) === canonical(value) || !isExact(value);
  };
  return entry.context === context && Object.entries(entry.params ?? {}).every(mayEqual);
}

/** The bundles of a page, its calls, and the channel to other tabs. */
class Client {
  #baseUrl;
  #token;
  #renewal = null; // the promise of the token function, shared by all requests that wait for it
  #isAsking = false; // whether the token function is being called right now
  #defaults;
  #keep;
  #bundles = new Map(); // by key; the most recently subscribed comes last
  #due = new Set(); // bundles to take care of at the end of this turn
  #clock = 0; // counts events, to order them
  #heard = 0; // when the last invalidation came, by #clock
  #channel = null;
  #closed = null; // the error of every request after `close`
  #unlisten = []; // functions that remove the listeners on the window

  constructor({
    baseUrl = "/api/mizan",
    token = null,
    defaults = {},
    keep = 30_000,
    refetchOnFocus = false,
    refetchOnReconnect = false,
    channel,
    initial = [],
  }) {
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#token = token;
    this.#defaults = defaults;
    this.#keep = keep;
    this.#listen(channel ?? channelOf(this.#baseUrl));
    // Messages of other tabs did not reach the page while it was in the back/forward cache.
    this.#on("pageshow", ({ persisted }) => persisted && this.#overtakeTouched(EVERYTHING));
    if (refetchOnFocus) this.#refetchOn("focus");
    if (refetchOnReconnect) this.#refetchOn("online");
    for (const { context, params, data } of initial) {
      const bundle = this.#bundle(context, params);
      bundle.arrive(data, this.#tick());
      bundle.old = isFromHistory();
      bundle.tell(); // at once, for code that renders in this turn
    }
  }

  async fetch(context, params, { signal } = {}) {
    throwIfAborted(signal);
    const bundle = this.#bundle(context, params);
    bundle.expire();
    return this.#wait(bundle, signal);
  }

  load(context, params) {
    const bundle = this.#bundle(context, params);
    if (bundle.loaded === null) {
      bundle.loaded = bundle.settled ? bundle.known() : this.#wait(bundle);
      bundle.loaded.catch(() => {}); // the error is handled by holders of the promise
    }
    return bundle.loaded;
  }

  async call(name, args, { optimistic = [], signal } = {}) {
    throwIfAborted(signal);
    this.#throwIfClosed();
    const body = bodyOf(args ?? {});
    const layers = [optimistic].flat().map(({ context, params, update }) => {
      return { bundle: this.#bundle(context, params), update, answered: false };
    });
    for (const layer of layers) layer.bundle.lay(layer);
    return unlessAborted(this.#call(name, body, layers), signal);
  }

  subscribe(context, params, listener) {
    const bundle = this.#bundle(context, params);
    const before = bundle.state;
    const told = (state) => listener(state);
    this.#bundles.delete(bundle.key);
    this.#bundles.set(bundle.key, bundle);
    if (bundle.old || (bundle.error && !bundle.wanted)) bundle.expire();
    bundle.listeners.add(told);
    this.#look(bundle);
    if (bundle.state === before) guarded(() => told(before));
    return () => {
      bundle.listeners.delete(told);
      this.#look(bundle);
    };
  }

  state(context, params) {
    return this.#find(context, params)?.state ?? UNKNOWN;
  }

  invalidate(...invalidations) {
    this.#stale(invalidations.map(spelled));
  }

  identify(token) {
    this.#identify(token);
    this.#channel?.postMessage({ identity: true });
  }

  close() {
    this.#closed = new Error("The client was closed.");
    for (const end of this.#unlisten) end();
    this.#channel?.close();
    this.#channel = null;
    for (const bundle of this.#bundles.values()) {
      clearTimeout(bundle.timer);
      bundle.listeners.clear();
      bundle.fail(this.#closed);
    }
    this.#bundles.clear();
  }

  #tick() {
    return ++this.#clock;
  }

  #throwIfClosed() {
    if (this.#closed) throw this.#closed;
  }

  #find(context, params) {
    return this.#bundles.get(keyOf(context, spell(params, this.#defaults[context]).query));
  }

  /** The bundle of these parameters. A new one is dropped at the end of this turn unless it is wanted by then. */
  #bundle(context, params) {
    const found = this.#find(context, params);
    if (found) return found;
    const bundle = new Bundle(context, params, spell(params, this.#defaults[context]), this.#tick());
    this.#bundles.set(bundle.key, bundle);
    this.#look(bundle);
    return bundle;
  }

  /** After a change of a bundle: call its listeners, and take care of it at the end of this turn. */
  #look(bundle) {
    bundle.tell();
    if (this.#due.size === 0) queueMicrotask(() => this.#catchUp());
    this.#due.add(bundle);
  }

  /** Take care of the bundles that are due. Deferred to the end of a turn, a burst of changes causes one request. */
  #catchUp() {
    const due = [...this.#due];
    this.#due.clear();
    for (const bundle of due) {
      clearTimeout(bundle.timer);
      if (!bundle.wanted) this.#rest(bundle);
      else if (!bundle.settled && bundle.request === null) this.#request(bundle);
    }
  }

  /** The bundle is not wanted: end its request, drop stale data, and keep the rest for a while. */
  #rest(bundle) {
    bundle.drop();
    if (!bundle.settled) bundle.forget();
    bundle.tell();
    if (bundle.layers.some((layer) => !layer.answered)) return; // #look is called again when its call ends
    const end = () => this.#bundles.get(bundle.key) === bundle && this.#bundles.delete(bundle.key);
    if (!bundle.settled) end();
    else if (this.#keep <= LONGEST_TIMER) bundle.timer = unref(setTimeout(end, this.#keep));
  }

  /** The bundle once it has arrived. If it is overtaken before, the newer answer is waited for. */
  async #wait(bundle, signal) {
    this.#throwIfAsking();
    let waiter;
    const arrived = new Promise((resolve, reject) => (waiter = { resolve, reject }));
    bundle.waiting.add(waiter);
    this.#look(bundle);
    try {
      return await unlessAborted(arrived, signal);
    } finally {
      bundle.waiting.delete(waiter);
      this.#look(bundle);
    }
  }

  async #request(bundle) {
    const request = new AbortController();
    const began = this.#tick();
    bundle.request = request;
    bundle.moment = began;
    const end = await this.#get(bundle, request.signal).then(
      ({ response, body }) => () => this.#arrived(bundle, response, body, began),
      (error) => () => bundle.fail(error),
    );
    if (bundle.request !== request) return; // it was overtaken, or is not wanted any more
    end();
    this.#look(bundle);
  }

  async #get(bundle, signal) {
    this.#throwIfClosed();
    // The default cache mode: the browser's cache adds If-None-Match. Other modes make shared caches ask the origin.
    const answer = await ask(`${this.#baseUrl}/ctx/${bundle.path}`, { headers: await this.#headers(), signal });
    const { response, body } = answer;
    if (response.status !== 200 || !isObject(body)) throw new MizanError(response.status, body);
    return answer;
  }

  #arrived(bundle, response, body, began) {
    const respelled = bundle.respell(response.headers.get("Content-Location"));
    if (respelled && this.#heard > began) this.#overtake(bundle); // it may have been named by that spelling
    else bundle.arrive(body, this.#tick());
  }

  async #call(name, body, layers) {
    const headers = await this.#headers(name).catch((error) => {
      this.#withdraw(layers);
      throw error;
    });
    if (typeof body === "string") headers["Content-Type"] = "application/json"; // a form names its boundary itself
    headers["X-Mizan-Mounted"] = this.#mounted();
    // `mizan` is for `elements.js`, which sees the same answer and can then ignore the message about it.
    const mizan = { channel: this.#channel?.name, call: Math.random() };
    const sent = this.#tick();
    const url = `${this.#baseUrl}/call/${encode(name)}/`;
    const answer = await ask(url, { method: "POST", headers, body, mizan }).catch((error) => {
      this.#end(layers, mizan, EVERYTHING); // it may have run
      throw error;
    });
    return this.#answered(answer, layers, mizan, sent);
  }

  #answered({ response, body }, layers, mizan, sent) {
    const outcome = outcomeOf(response.status, body);
    const invalidations = staleBy(outcome, response, body);
    // The header names bundles of others as well, which elements of other tabs may show.
    if (outcome === "done") mizan.header = decoded(response.headers.get("X-Mizan-Invalidate"));
    if (outcome === "refused") {
      this.#withdraw(layers);
      this.#stale(invalidations, mizan);
    } else {
      this.#end(layers, mizan, invalidations, outcome === "done" ? body.refreshed : [], sent);
    }
    if (outcome !== "done") throw new MizanError(response.status, body);
    return body.result;
  }

  /** A call has ended, or may have: bundles fetched from now on show its effects. */
  #end(layers, mizan, invalidations, refreshed = [], sent = 0) {
    for (const layer of layers) layer.answered = true;
    const current = refreshed.map((one) => this.#refresh(one, sent));
    this.#stale(invalidations, mizan, current);
    for (const { bundle } of layers) {
      if (!current.includes(bundle)) this.#overtake(bundle);
    }
  }

  /** Take a bundle from a call's answer, unless it was overtaken or requested since the call (protocol, section 14). */
  #refresh({ context, params = {}, data }, sent) {
    const bundle = Object.values(params).every(isExact) ? this.#find(context, params) : undefined;
    if (bundle === undefined || bundle.moment > sent) return undefined;
    bundle.arrive(data, this.#tick());
    this.#look(bundle);
    return bundle;
  }

  #withdraw(layers) {
    for (const layer of layers) {
      layer.bundle.withdraw(layer);
      this.#look(layer.bundle);
    }
  }

  #stale(stale, mizan, current = []) {
    if (stale?.length === 0 && !mizan?.header?.length) return;
    if (stale?.length !== 0) this.#overtakeTouched(stale, current);
    this.#channel?.postMessage({ stale, header: mizan?.header, call: mizan?.call });
  }

  #overtakeTouched(invalidations, current = []) {
    this.#heard = this.#tick();
    for (const bundle of [...this.#bundles.values()]) {
      const stale = invalidations?.some((one) => touches(one, bundle.context, bundle.texts)) ?? true;
      if (stale && !current.includes(bundle)) this.#overtake(bundle);
    }
  }

  #overtake(bundle) {
    bundle.overtake(this.#tick());
    if (!bundle.wanted) bundle.forget();
    this.#look(bundle);
  }

  #identify(token) {
    if (token !== undefined || typeof this.#token !== "function") this.#token = token ?? null;
    this.#renewal = null;
    for (const bundle of [...this.#bundles.values()]) {
      bundle.layers = [];
      bundle.forget();
      this.#overtake(bundle);
    }
  }

  /** The headers of every request, in a new object. */
  async #headers(name) {
    const token = name === OBTAIN ? null : await this.#currentToken();
    return token == null ? {} : { "X-Mizan-Token": token };
  }

  /** The token, or the promise of the token function, which all requests that wait for it share. */
  #currentToken() {
    const token = this.#token;
    if (typeof token !== "function") return token;
    this.#throwIfAsking();
    if (this.#renewal === null) {
      const renewal = Promise.resolve().then(() => this.#ask(token));
      const end = () => this.#renewal === renewal && (this.#renewal = null);
      this.#renewal = renewal;
      renewal.then(end, end);
    }
    return this.#renewal;
  }

  #ask(token) {
    this.#isAsking = true;
    try {
      return token();
    } finally {
      this.#isAsking = false;
    }
  }

  /** A request by the token function itself would wait for the token that the function is to return. */
  #throwIfAsking() {
    if (this.#isAsking) throw new TypeError(`A token function may ask its client for "${OBTAIN}" and nothing else.`);
  }

  /** The bundles with listeners, as many as fit into a header, the most recently subscribed first. */
  #mounted() {
    let line = "";
    for (const { key, listeners } of [...this.#bundles.values()].reverse()) {
      const longer = line ? `${line}, ${key}` : key;
      if (listeners.size > 0 && longer.length <= MAXIMUM_MOUNTED_BYTES) line = longer;
    }
    return line;
  }

  /** Listen to other tabs: invalidations, and changes of the identity. */
  #listen(name) {
    if (name === false || !globalThis.BroadcastChannel) return;
    this.#channel = unref(new BroadcastChannel(name));
    this.#channel.onmessage = ({ data }) => {
      if (data.identity) this.#identify();
      else if (data.stale?.length !== 0) this.#overtakeTouched(data.stale);
    };
  }

  #refetchOn(event) {
    this.#on(event, () => {
      for (const bundle of this.#bundles.values()) {
        if (bundle.listeners.size === 0) continue;
        bundle.expire();
        this.#look(bundle);
      }
    });
  }

  #on(event, listener) {
    globalThis.addEventListener?.(event, listener);
    this.#unlisten.push(() => globalThis.removeEventListener?.(event, listener));
  }
}

/** One bundle: its data from the server, the state that is shown, its listeners, and the request under way. */
class Bundle {
  base = undefined; // the latest data from the server
  error = undefined;
  settled = false; // whether `base`, or `error`, is up to date
  old = false; // whether it came with a page that the browser restored from its cache
  layers = []; // optimistic changes, in the order of their calls
  shown = undefined; // `base` with the layers applied
  state = UNKNOWN;
  listeners = new Set();
  waiting = new Set();
  loaded = null; // the promise that `load` returned
  request = null;
  timer = undefined;

  /** `moment`: when it was last overtaken, requested or answered, by the clock of the client. */
  constructor(context, params, { texts, query }, moment) {
    this.context = context;
    this.params = params ?? {};
    this.texts = texts;
    this.key = keyOf(context, query);
    this.path = `${encode(context)}/${query && `?${query}`}`;
    this.moment = moment;
  }

  get wanted() {
    return this.listeners.size + this.waiting.size > 0;
  }

  /** The known data, or the error, as a promise. */
  known() {
    return this.error ? Promise.reject(this.error) : Promise.resolve(this.base);
  }

  /** Abort the request under way; its answer is not used. */
  drop() {
    this.request?.abort();
    this.request = null;
  }

  /** Mark the data as not up to date. They are shown until newer ones arrive. */
  expire() {
    if (this.settled) this.loaded = null;
    this.settled = false;
  }

  /** It has changed on the server: a request under way may give old data, and the reason of an error may be gone. */
  overtake(moment) {
    this.drop();
    this.expire();
    this.error = undefined;
    this.moment = moment;
  }

  /** Drop the data. Optimistic changes stay if their calls have not been answered. */
  forget() {
    this.expire();
    this.base = this.error = undefined;
    this.redraw(this.layers.filter((layer) => !layer.answered));
  }

  /** Take the server's data. They contain all calls answered before, so the optimistic changes of these are removed. */
  arrive(data, moment) {
    this.drop();
    this.expire();
    if (JSON.stringify(data) !== JSON.stringify(this.base)) this.base = data; // equal data stay the same object
    this.error = undefined;
    this.old = false;
    this.moment = moment;
    this.redraw(this.layers.filter((layer) => !layer.answered));
    this.settle((waiter) => waiter.resolve(this.base));
  }

  /** The request failed. The data stay beside the error. */
  fail(error) {
    this.drop();
    this.error = error;
    this.settle((waiter) => waiter.reject(error));
  }

  settle(answer) {
    this.settled = true;
    const waiting = [...this.waiting];
    this.waiting.clear();
    waiting.forEach(answer);
  }

  lay(layer) {
    this.redraw([...this.layers, layer]);
    this.tell();
  }

  withdraw(layer) {
    this.redraw(this.layers.filter((one) => one !== layer));
  }

  redraw(layers) {
    this.layers = layers;
    this.shown = this.base === undefined ? undefined : layers.reduce(updated, this.base);
  }

  /** Take over the spelling of the parameters that the server uses, also in its invalidations. */
  respell(location) {
    if (location === null) return false;
    const query = readQuery(location.split("?")[1]);
    for (const [name, value] of Object.entries(this.params)) {
      const text = query.get(name);
      if (text !== undefined && !Array.isArray(value)) this.texts.set(name, text);
      else this.texts.delete(name); // unknown, so it may have any value
    }
    return true;
  }

  /** Call the listeners if the state has changed. */
  tell() {
    const { shown: data, error, state } = this;
    const loading = this.wanted && !this.settled;
    if (data === state.data && error === state.error && loading === state.loading) return;
    this.state = Object.freeze({ data, error, loading });
    for (const listener of [...this.listeners]) {
      if (this.listeners.has(listener)) guarded(() => listener(this.state));
    }
  }
}

/** The known canonical texts, null for null, and the query of the canonical URL (protocol, section 8). */
function spell(params, defaults) {
  const usual = Object.entries(defaults ?? {}).map(([name, value]) => [name, value === null ? null : canonical(value)]);
  const texts = new Map(usual);
  const pairs = [];
  for (const [name, value] of Object.entries(params ?? {}).sort(byName)) {
    if (value == null) continue;
    const text = textOf(value, `params.${name}`);
    if (text === texts.get(name)) continue;
    texts.set(name, text);
    for (const member of [value].flat()) pairs.push(`${encode(name)}=${encode(canonical(member))}`);
  }
  return { texts, query: pairs.join("&") };
}

/** The texts of a canonical query; none if it is malformed. (React Native's URLSearchParams cannot parse.) */
function readQuery(query) {
  try {
    return new Map((query ?? "").split("&").map((pair) => pair.split("=").map(decodeURIComponent)));
  } catch {
    return new Map();
  }
}

/** An invalidation with texts as values, as it is sent to other tabs. An inexact value is left out: any may match. */
function spelled(invalidation) {
  if (typeof invalidation === "string") return invalidation;
  const params = {};
  for (const [name, value] of Object.entries(invalidation.params ?? {})) {
    if (value === undefined) continue;
    const text = value === null ? null : textOf(value, `params.${name}`);
    if (isExact(value)) params[name] = text;
  }
  return { ...invalidation, params };
}

/** A bundle's key on the client, and its name in `X-Mizan-Mounted`. */
function keyOf(context, query) {
  return encode(context) + (query && `?${query}`);
}

/** The name of the channel between tabs: the same for every spelling of the base URL. */
function channelOf(baseUrl) {
  const { location } = globalThis;
  if (!location?.origin) return `mizan:${baseUrl}`;
  const { origin, pathname } = new URL(`${baseUrl}/`, globalThis.document?.baseURI ?? location.href);
  return `mizan:${origin === location.origin ? "" : origin}${pathname.slice(0, -1)}`;
}

/** Whether the browser may have restored the page from its cache, by "back" or by reopening a tab. */
function isFromHistory() {
  return globalThis.performance?.getEntriesByType?.("navigation")?.[0]?.type === "back_forward";
}

/** Percent-encode as UTF-8 all but the unreserved characters of RFC 3986. */
function encode(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** A text in a header: percent-encoded, with the characters that senders may leave unencoded. */
const TEXT = /^(?:[\w\-.~!$&'()*+:@]|%[\dA-Fa-f]{2})*$/;

function decodeEntry(member) {
  const [head, ...assignments] = member.split(";");
  const [context, name, ...more] = head.split("/");
  if (more.length > 0) throw new TypeError(`There are two slashes in ${member}.`);
  const entry = { context: decodeName(context), params: {} };
  if (name !== undefined) entry.function = decodeName(name);
  for (const assignment of assignments) {
    const [parameter, value, ...others] = assignment.split("=");
    if (value === undefined || others.length > 0) throw new TypeError(`${assignment} is not of the form name=value.`);
    if (Object.hasOwn(entry.params, decodeName(parameter))) throw new TypeError(`${parameter} is there twice.`);
    entry.params[decodeName(parameter)] = decodeText(value);
  }
  return entry;
}

function decodeName(text) {
  if (text === "") throw new TypeError("A name is missing.");
  return decodeText(text);
}

function decodeText(text) {
  if (!TEXT.test(text)) throw new TypeError(`${text} has a character that does not belong there.`);
  return decodeURIComponent(text);
}

function textOf(value, place) {
  const plain = plainOf(value);
  return typeof plain === "string" ? plain : canonicalJson(plain, place);
}

/**
 * Canonical JSON: no spaces, members sorted by UTF-16 code unit, numbers and text as ECMAScript writes them.
 *
 * Throws where JSON.stringify would silently leave something out, or write `{}` or `null` in its place.
 */
function canonicalJson(value, place) {
  const plain = plainOf(value);
  if (!isJson(plain)) throw new TypeError(`${place} is ${kindOf(plain)}, which JSON cannot hold. ${JSON_HOLDS}`);
  if (typeof plain === "bigint") return String(plain);
  if (plain === null || typeof plain !== "object") return JSON.stringify(plain);
  if (Array.isArray(plain)) return `[${Array.from(plain, (one, index) => canonicalJson(one, `${place}[${index}]`))}]`;
  const names = Object.keys(plain).filter((name) => plain[name] !== undefined);
  return `{${names.sort().map((name) => `${JSON.stringify(name)}:${canonicalJson(plain[name], `${place}.${name}`)}`)}}`;
}

/** The body of a call: JSON, or a form where arguments are files or lists of files (protocol, section 16). */
function bodyOf(args) {
  const names = Object.keys(args).filter((name) => filesIn(args[name]).length > 0);
  if (names.length === 0) return canonicalJson(args, "args");
  const form = new FormData();
  const rest = Object.entries(args).filter(([name]) => !names.includes(name));
  form.append(":args", canonicalJson(Object.fromEntries(rest), "args"));
  for (const name of names) {
    for (const file of filesIn(args[name])) form.append(name, file);
  }
  return form;
}

function filesIn(value) {
  const listed = Array.isArray(value) ? Array.from(value) : [value];
  return listed.every(isFile) ? listed : [];
}

/** Whether this is a Blob or a File, of any window. */
function isFile(value) {
  return /^\[object (Blob|File)\]$/.test(Object.prototype.toString.call(value));
}

const JSON_HOLDS =
  "It holds plain objects, arrays, texts, finite numbers, BigInts, booleans, null, Dates, and what has a toJSON().";

function isJson(plain) {
  if (typeof plain === "object") return plain === null || Array.isArray(plain) || isRecord(plain);
  return typeof plain === "number" ? Number.isFinite(plain) : /^(string|boolean|bigint)$/.test(typeof plain);
}

/** Whether an object, of any window, is plain: JSON would lose the private state of an instance of a class. */
function isRecord(object) {
  const prototype = Object.getPrototypeOf(object);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function kindOf(plain) {
  if (typeof plain === "object") return `of the class ${plain.constructor?.name}`;
  return /^(function|symbol)$/.test(typeof plain) ? `a ${typeof plain}` : String(plain);
}

/** The value of `toJSON`, if there is one. A Date as Python writes it: without fraction, or with six digits. */
function plainOf(value) {
  if (!(value instanceof Date)) return typeof value?.toJSON === "function" ? value.toJSON() : value;
  return value.toISOString().replace(/(\.\d{3})Z$/, (_, fraction) => (fraction === ".000" ? "Z" : `${fraction}000Z`));
}

/** Whether a value is exactly the one that was sent: JSON.parse rounds numbers from 2^53 on. */
function isExact(value) {
  return typeof value === "string" || typeof value === "bigint" || !/\d{16}|e\+/.test(canonical(value));
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isProblem(status, body) {
  return isObject(body) && body.status === status && typeof body.code === "string";
}

/** The outcome of a call: "done"; "refused" without effects; "failed" with some of them; "unknown" if it ran. */
function outcomeOf(status, body) {
  if (status === 200 && isObject(body) && "result" in body) return "done";
  if (isProblem(status, body)) return body.code === "internal_error" ? "failed" : "refused";
  return status >= 400 && status < 500 ? "refused" : "unknown";
}

/** The invalidations of a call's answer. EVERYTHING if they are hidden from this origin, or malformed. */
function staleBy(outcome, { headers, type }, body) {
  if (outcome === "done") return body.invalidate ?? [];
  const line = headers.get("X-Mizan-Invalidate");
  if (outcome === "unknown" || (outcome === "failed" && line === null && type === "cors")) return EVERYTHING;
  return decoded(line);
}

function decoded(line) {
  try {
    return decodeHeader(line ?? "");
  } catch {
    return EVERYTHING;
  }
}

async function ask(url, init) {
  const response = await globalThis.fetch(url, init);
  return { response, body: parse(await response.text()) };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The reason of an aborted signal. (Signals of React Native have neither `throwIfAborted` nor `reason`.) */
function reasonOf(signal) {
  return signal.reason ?? Object.assign(new Error("The operation was aborted."), { name: "AbortError" });
}

function throwIfAborted(signal) {
  if (signal?.aborted) throw reasonOf(signal);
}

/** The promise, rejected with the signal's reason as soon as it is aborted. */
function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(reasonOf(signal));
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function updated(data, { update }) {
  return guarded(() => update(data)) ?? data;
}

/** Run a function of the page. Its errors are reported, and do not reach the code of this module that runs it. */
function guarded(run) {
  try {
    return run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
    return undefined;
  }
}

function byName([one], [other]) {
  return one < other ? -1 : 1;
}

/** Keep a timer or channel from holding up the end of a process, in Node. */
function unref(thing) {
  thing.unref?.();
  return thing;
}
