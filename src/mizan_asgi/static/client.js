/**
 * The browser runtime of Mizan: fetches bundles, calls functions, and refreshes exactly what a mutation made stale.
 *
 * A plain ES module without dependencies. What each option and method means is in `client.d.ts` beside it. One rule
 * runs through everything: an answer is shown only if nothing has overtaken it since it was asked for.
 */

/** Servers and proxies commonly refuse header lines between 4 and 8 KiB. */
const MAXIMUM_MOUNTED_BYTES = 4096;

/** A timer that is told to take longer fires at once instead. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The built-in function that gives a session a token. It is asked without one: a token does not buy another. */
const OBTAIN = "mwt_obtain";

/** Stands for the invalidation of whatever there is, where nobody knows what went out of date. */
const EVERYTHING = null;

/** A context that nobody has asked for. */
const UNKNOWN = Object.freeze({ data: undefined, error: undefined, loading: false });

/** A problem document, or an answer that was none. */
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

/** Makes a client of the server that is mounted at `baseUrl`. */
export function createClient(options = {}) {
  return new Client(options);
}

/** The canonical text of a value (protocol, section 2). */
export function canonical(value) {
  return textOf(value ?? null, "The value");
}

/** What `X-Mizan-Invalidate` names, with texts as values (protocol, section 5). Throws where it is not clear. */
export function decodeHeader(line) {
  const members = line.split(",").map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ""));
  return members.filter(Boolean).map(decodeEntry);
}

/**
 * Whether an invalidation makes the bundle with these canonical texts stale.
 *
 * What `texts` lacks may be anything. A null there, and one in the invalidation, is null and nothing else.
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

/** Bundles, the calls that make them stale, and other tabs. */
class Client {
  #baseUrl;
  #token;
  #renewal = null; // what the token function promised to those who wait for it
  #isAsking = false; // whether it runs in this very moment
  #defaults;
  #keep;
  #bundles = new Map(); // by key; the one that was subscribed to last comes last
  #due = new Set(); // what to look after when this turn is over
  #clock = 0; // counts what happens, so that it is known what came first
  #heard = 0; // when anything was last made stale
  #channel = null;
  #closed = null; // why nothing is fetched any more
  #unlisten = []; // each ends what is heard of the window

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
    // What other tabs said while the page was in the back/forward cache did not reach it.
    this.#on("pageshow", ({ persisted }) => persisted && this.#overtakeTouched(EVERYTHING));
    if (refetchOnFocus) this.#refetchOn("focus");
    if (refetchOnReconnect) this.#refetchOn("online");
    for (const { context, params, data } of initial) {
      const bundle = this.#bundle(context, params);
      bundle.arrive(data, this.#tick());
      bundle.old = isFromHistory();
      bundle.tell(); // whoever renders in this turn sees it
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
      bundle.loaded.catch(() => {}); // whoever holds the promise hears of it
    }
    return bundle.loaded;
  }

  async call(name, args, { optimistic = [], signal } = {}) {
    throwIfAborted(signal);
    this.#throwIfClosed();
    const body = canonicalJson(args ?? {}, "args");
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

  /** The bundle of these parameters. A new one goes at the end of this turn unless somebody wants it. */
  #bundle(context, params) {
    const found = this.#find(context, params);
    if (found) return found;
    const bundle = new Bundle(context, params, spell(params, this.#defaults[context]), this.#tick());
    this.#bundles.set(bundle.key, bundle);
    this.#look(bundle);
    return bundle;
  }

  /** Something about a bundle has changed: tell who shows it, and do what it needs once this turn is over. */
  #look(bundle) {
    bundle.tell();
    if (this.#due.size === 0) queueMicrotask(() => this.#catchUp());
    this.#due.add(bundle);
  }

  /** A burst of changes thus causes one request. */
  #catchUp() {
    const due = [...this.#due];
    this.#due.clear();
    for (const bundle of due) {
      clearTimeout(bundle.timer);
      if (!bundle.wanted) this.#rest(bundle);
      else if (!bundle.settled && bundle.request === null) this.#request(bundle);
    }
  }

  /** Nobody wants it: end its request, and keep for a while what is not out of date. */
  #rest(bundle) {
    bundle.drop();
    if (!bundle.settled) bundle.forget();
    bundle.tell();
    if (bundle.layers.some((layer) => !layer.answered)) return; // its call comes back to it
    const end = () => this.#bundles.get(bundle.key) === bundle && this.#bundles.delete(bundle.key);
    if (!bundle.settled) end();
    else if (this.#keep <= LONGEST_TIMER) bundle.timer = unref(setTimeout(end, this.#keep));
  }

  /** The bundle when it has arrived, however often it is overtaken until then. */
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
    if (bundle.request !== request) return; // it was overtaken, or nobody wants it any more
    end();
    this.#look(bundle);
  }

  async #get(bundle, signal) {
    this.#throwIfClosed();
    // The browser's cache asks with If-None-Match; another cache mode would make shared caches pass on the question.
    const answer = await ask(`${this.#baseUrl}/ctx/${bundle.path}`, { headers: await this.#headers(), signal });
    const { response, body } = answer;
    if (response.status !== 200 || !isObject(body)) throw new MizanError(response.status, body);
    return answer;
  }

  #arrived(bundle, response, body, began) {
    const respelled = bundle.respell(response.headers.get("Content-Location"));
    if (respelled && this.#heard > began) this.#overtake(bundle); // it may have been meant
    else bundle.arrive(body, this.#tick());
  }

  async #call(name, body, layers) {
    const headers = await this.#headers(name).catch((error) => {
      this.#withdraw(layers);
      throw error;
    });
    headers["Content-Type"] = "application/json";
    headers["X-Mizan-Mounted"] = this.#mounted();
    // `mizan` is for `elements.js`, which hears the same answer and need not hear of it again.
    const mizan = { channel: this.#channel?.name, call: Math.random() };
    const sent = this.#tick();
    const url = `${this.#baseUrl}/call/${encode(name)}/`;
    const answer = await ask(url, { method: "POST", headers, body, mizan }).catch((error) => {
      this.#end(layers, mizan, EVERYTHING); // whether it ran is not known
      throw error;
    });
    return this.#answered(answer, layers, mizan, sent);
  }

  #answered({ response, body }, layers, mizan, sent) {
    const outcome = outcomeOf(response.status, body);
    const invalidations = staleBy(outcome, response, body);
    if (outcome === "refused") {
      this.#withdraw(layers);
      this.#stale(invalidations, mizan);
    } else {
      this.#end(layers, mizan, invalidations, outcome === "done" ? body.refreshed : [], sent);
    }
    if (outcome !== "done") throw new MizanError(response.status, body);
    return body.result;
  }

  /** A call has ended, or its end is not known: what is fetched from now on shows what came of it. */
  #end(layers, mizan, invalidations, refreshed = [], sent = 0) {
    for (const layer of layers) layer.answered = true;
    const current = refreshed.map((one) => this.#refresh(one, sent));
    this.#stale(invalidations, mizan, current);
    for (const { bundle } of layers) {
      if (!current.includes(bundle)) this.#overtake(bundle);
    }
  }

  /** What a call's answer brought along is as good as fetched, unless something came between (protocol, section 14). */
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
    if (stale?.length === 0) return;
    this.#overtakeTouched(stale, current);
    this.#channel?.postMessage({ stale, call: mizan?.call });
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

  /** A new object of the headers that go with every request. */
  async #headers(name) {
    const token = name === OBTAIN ? null : await this.#currentToken();
    return token == null ? {} : { "X-Mizan-Token": token };
  }

  /** A token function is asked once by all requests that wait for its answer. */
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

  /** What the token function asks of this client would wait for the token that it is to bring. */
  #throwIfAsking() {
    if (this.#isAsking) throw new TypeError(`A token function may ask its client for "${OBTAIN}" and nothing else.`);
  }

  /** What is shown, as many as fit into a header, the last one subscribed to first. */
  #mounted() {
    let line = "";
    for (const { key, listeners } of [...this.#bundles.values()].reverse()) {
      const longer = line ? `${line}, ${key}` : key;
      if (listeners.size > 0 && longer.length <= MAXIMUM_MOUNTED_BYTES) line = longer;
    }
    return line;
  }

  /** Hear what other tabs made stale, or who signs in and out there. */
  #listen(name) {
    if (name === false || !globalThis.BroadcastChannel) return;
    this.#channel = unref(new BroadcastChannel(name));
    this.#channel.onmessage = ({ data }) => {
      if (data.identity) this.#identify();
      else this.#overtakeTouched(data.stale);
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

/** One bundle: what the server sent, what is shown of it and to whom, and the request that is under way for it. */
class Bundle {
  base = undefined; // what the server sent last
  error = undefined;
  settled = false; // whether that, or the error, is the last word
  old = false; // whether it came with a page that the browser had kept
  layers = []; // changes shown before the server has confirmed them, in the order of their calls
  shown = undefined; // what the server sent, under these changes
  state = UNKNOWN;
  listeners = new Set();
  waiting = new Set();
  loaded = null; // the promise that `load` gave
  request = null;
  timer = undefined;

  /** `moment`: when it was last overtaken, asked for or answered. */
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

  /** What is known, as a promise. */
  known() {
    return this.error ? Promise.reject(this.error) : Promise.resolve(this.base);
  }

  /** Drop the request under way: nobody is to see its answer. */
  drop() {
    this.request?.abort();
    this.request = null;
  }

  /** What is known is not the last word any more. It is shown until there is a newer one. */
  expire() {
    if (this.settled) this.loaded = null;
    this.settled = false;
  }

  /** It has changed on the server, and whatever is under way may be from before. So may the reason of a failure. */
  overtake(moment) {
    this.drop();
    this.expire();
    this.error = undefined;
    this.moment = moment;
  }

  /** Nothing is known any more. Changes whose calls have not been answered stay for what comes. */
  forget() {
    this.expire();
    this.base = this.error = undefined;
    this.redraw(this.layers.filter((layer) => !layer.answered));
  }

  /** The server's data. Every call that was answered before is in it, so their changes retire. */
  arrive(data, moment) {
    this.drop();
    this.expire();
    if (JSON.stringify(data) !== JSON.stringify(this.base)) this.base = data; // what shows the same need not be drawn
    this.error = undefined;
    this.old = false;
    this.moment = moment;
    this.redraw(this.layers.filter((layer) => !layer.answered));
    this.settle((waiter) => waiter.resolve(this.base));
  }

  /** There was no answer, or an error. What was known stays beside it. */
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

  /** The server spells a parameter otherwise than the page does, and so does what it calls stale. */
  respell(location) {
    if (location === null) return false;
    const query = readQuery(location.split("?")[1]);
    for (const [name, value] of Object.entries(this.params)) {
      const text = query.get(name);
      if (text !== undefined && !Array.isArray(value)) this.texts.set(name, text);
      else this.texts.delete(name); // then it may be anything
    }
    return true;
  }

  /** Tell those who show it, if anything has changed. */
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

/** All canonical texts that are known, null for a null, and the query of the canonical URL (protocol, section 8). */
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

/** The texts of a canonical query; none where it is not one. React Native's URLSearchParams cannot read. */
function readQuery(query) {
  try {
    return new Map((query ?? "").split("&").map((pair) => pair.split("=").map(decodeURIComponent)));
  } catch {
    return new Map();
  }
}

/** An invalidation whose values are texts, as other tabs understand them. One that is not exact may be anything. */
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

/** A bundle's name on the client, and in `X-Mizan-Mounted`. */
function keyOf(context, query) {
  return encode(context) + (query && `?${query}`);
}

/** The name of the channel between the tabs of this origin, however the base URL is spelled. */
function channelOf(baseUrl) {
  const { location } = globalThis;
  if (!location?.origin) return `mizan:${baseUrl}`;
  const { origin, pathname } = new URL(`${baseUrl}/`, globalThis.document?.baseURI ?? location.href);
  return `mizan:${origin === location.origin ? "" : origin}${pathname.slice(0, -1)}`;
}

/** Whether the browser may have taken the page as it was from its cache: somebody went back, or reopened a tab. */
function isFromHistory() {
  return globalThis.performance?.getEntriesByType?.("navigation")?.[0]?.type === "back_forward";
}

/** Percent-encoded UTF-8 with only RFC 3986's unreserved characters left as they are. */
function encode(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** A header's text as RFC 3986 has it, or as senders that encode less may write it. */
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
 * Throws where JSON.stringify would leave something out, or write `{}` or `null` in its place, without a word.
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

const JSON_HOLDS =
  "It holds plain objects, arrays, texts, finite numbers, BigInts, booleans, null, Dates, and what has a toJSON().";

function isJson(plain) {
  if (typeof plain === "object") return plain === null || Array.isArray(plain) || isRecord(plain);
  return typeof plain === "number" ? Number.isFinite(plain) : /^(string|boolean|bigint)$/.test(typeof plain);
}

/** An object of no class, from whichever window: JSON would lose what an instance of a class keeps to itself. */
function isRecord(object) {
  const prototype = Object.getPrototypeOf(object);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function kindOf(plain) {
  if (typeof plain === "object") return `of the class ${plain.constructor?.name}`;
  return /^(function|symbol)$/.test(typeof plain) ? `a ${typeof plain}` : String(plain);
}

/** What JSON makes of an object that knows; a moment as Python writes it, to the microsecond if not to the second. */
function plainOf(value) {
  if (!(value instanceof Date)) return typeof value?.toJSON === "function" ? value.toJSON() : value;
  return value.toISOString().replace(/(\.\d{3})Z$/, (_, fraction) => (fraction === ".000" ? "Z" : `${fraction}000Z`));
}

/** Whether a value is what was sent: of numbers from 2^53 on, JSON.parse loses digits. */
function isExact(value) {
  return typeof value === "string" || typeof value === "bigint" || !/\d{16}|e\+/.test(canonical(value));
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isProblem(status, body) {
  return isObject(body) && body.status === status && typeof body.code === "string";
}

/** How a call ended: done; refused, and nothing happened; failed, nobody knows how far; unknown, if anything. */
function outcomeOf(status, body) {
  if (status === 200 && isObject(body) && "result" in body) return "done";
  if (isProblem(status, body)) return body.code === "internal_error" ? "failed" : "refused";
  return status >= 400 && status < 500 ? "refused" : "unknown";
}

/** What the answer to a call says is stale. Where it is hidden from this origin, or not clear, that is everything. */
function staleBy(outcome, { headers, type }, body) {
  if (outcome === "done") return body.invalidate ?? [];
  const line = headers.get("X-Mizan-Invalidate");
  if (outcome === "unknown" || (outcome === "failed" && line === null && type === "cors")) return EVERYTHING;
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

/** Signals of React Native have neither `throwIfAborted` nor `reason`. */
function reasonOf(signal) {
  return signal.reason ?? Object.assign(new Error("The operation was aborted."), { name: "AbortError" });
}

function throwIfAborted(signal) {
  if (signal?.aborted) throw reasonOf(signal);
}

/** The promise, or the signal's reason as soon as there is one. */
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

/** Run what belongs to the page. Its errors are the page's, not those of whoever caused it to run. */
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

/** In Node, neither a timer nor a channel keeps the process from ending. */
function unref(thing) {
  thing.unref?.();
  return thing;
}
