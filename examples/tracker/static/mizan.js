// The client's half of the protocol in plain script: bundles, calls, and which bundles a call made stale.

const BASE = "/api/mizan";
const listeners = [];

/** Told of every request when it has been answered: { method, what, status, cache, ms, stale, because }. */
export function onRequest(listener) {
  listeners.push(listener);
}

/** What a problem document says. */
export class Problem extends Error {
  constructor(problem) {
    super(problem.errors?.map((one) => one.msg).join(". ") || problem.detail);
    this.status = problem.status;
  }
}

/** A context's bundle. Parameters go in name order, so that the URL is the canonical one, which an edge may keep. */
export async function fetchBundle(context, params, because) {
  const query = Object.keys(params).sort().map((name) => `${name}=${encodeURIComponent(params[name])}`).join("&");
  const url = `${BASE}/ctx/${context}/${query && "?" + query}`;
  return ask(url, { method: "GET" }, context + (query && "?" + query), because);
}

/** Calls a function; `stale` is what its answer named. Also after an error: the outcome may be unknown. */
export async function call(fn, args) {
  const body = JSON.stringify({ fn, args });
  return ask(`${BASE}/call/`, { method: "POST", body, headers: { "Content-Type": "application/json" } }, fn);
}

/** A form of the host's own, such as signing in. */
export async function post(url, fields) {
  return ask(url, { method: "POST", body: new URLSearchParams(fields), redirect: "manual" }, url);
}

/** Whether an entry of `invalidate` makes the bundle of a context for these parameters stale. */
export function concerns(entry, context, params) {
  if (typeof entry === "string") return entry === context;
  const scope = Object.entries(entry.params ?? {});
  return entry.context === context && scope.every(([name, value]) => String(params[name] ?? value) === String(value));
}

performance.setResourceTimingBufferSize(10_000);

async function ask(url, options, what, because) {
  const began = performance.now();
  const response = await fetch(url, options);
  const type = response.headers.get("Content-Type") ?? "";
  const answer = type.includes("json") ? await response.json() : {};
  const ms = duration(url) ?? performance.now() - began;
  const cache = readCacheStatus(response.headers.get("Cache-Status"));
  const stale = answer.invalidate ?? readHeader(response.headers.get("X-Mizan-Invalidate"));
  for (const listener of listeners) listener({ method: options.method, what, status: response.status, cache, ms, stale, because });
  if (response.status >= 400) throw Object.assign(new Problem(answer), { stale });
  return { answer, cache, ms, stale };
}

/** From sending the request to the last byte of its answer, without waiting for a free connection. */
function duration(url) {
  const timing = performance.getEntriesByName(new URL(url, location).href).at(-1);
  return timing?.requestStart ? timing.responseEnd - timing.requestStart : null;
}

/** "mizan; hit" and its like (RFC 9211), in one word. */
function readCacheStatus(line) {
  if (line === null) return "";
  if (line.includes("; hit")) return "hit";
  return line.includes("fwd=bypass") ? "bypass" : "miss";
}

/** The header says the same as the body, and is there on an error too. */
function readHeader(line) {
  return (line ?? "").split(",").filter((entry) => entry.trim()).map((entry) => {
    const [target, ...pairs] = entry.trim().split(";");
    const [context, fn] = target.split("/").map(decodeURIComponent);
    const params = Object.fromEntries(pairs.map((pair) => pair.split("=").map(decodeURIComponent)));
    return pairs.length || fn ? { context, params, ...(fn && { function: fn }) } : context;
  });
}
