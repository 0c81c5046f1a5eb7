// The requests of the page, observed between its client and the browser's `fetch`.

const BASE = "/api/mizan/";
const listeners = [];
let wait = 0;

/** Adds a listener, which is called with every request once it has been answered. */
export function onRequest(listener) {
  listeners.push(listener);
}

/** Delays every request by this many milliseconds. */
export function slowDown(milliseconds) {
  wait = milliseconds;
}

performance.setResourceTimingBufferSize(10_000);
const send = globalThis.fetch;

globalThis.fetch = async (url, options = {}) => {
  if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  const began = performance.now();
  const response = await send(url, options);
  describe(url, options, response.clone(), began);
  return response;
};

async function describe(url, { method = "GET", body, headers }, response, began) {
  const answer = await response.json().catch(() => ({}));
  const [kind, name] = url.startsWith(BASE) ? url.slice(BASE.length).split("/") : ["host", url];
  const request = {
    method,
    what: kind === "ctx" ? bundleOf(url) : name,
    args: kind === "call" ? JSON.parse(body) : {},
    status: response.status,
    ms: duration(url) ?? performance.now() - began,
    cache: readCacheStatus(response.headers.get("Cache-Status")),
    stale: answer.invalidate ?? readHeader(response.headers.get("X-Mizan-Invalidate")),
    mounted: (headers?.["X-Mizan-Mounted"] ?? "").split(", ").filter(Boolean),
    refreshed: (answer.refreshed ?? []).map(({ context, params }) => keyOf(context, params)),
  };
  for (const listener of listeners) listener(request);
}

/** A bundle as its URL and `X-Mizan-Mounted` spell it. */
export function keyOf(context, params) {
  const query = Object.keys(params).sort().map((name) => `${name}=${encodeURIComponent(params[name])}`).join("&");
  return query ? `${context}?${query}` : context;
}

/** An invalidation as `X-Mizan-Invalidate` spells it. */
export function spell(entry) {
  if (typeof entry === "string") return entry;
  const target = entry.function ? `${entry.context}/${entry.function}` : entry.context;
  return [target, ...Object.entries(entry.params ?? {}).map(([name, value]) => `${name}=${value}`)].join(";");
}

/** Whether an invalidation touches the bundle of this key. */
export function concerns(entry, key) {
  const [context, query] = key.split("?");
  const params = new URLSearchParams(query);
  if (typeof entry === "string") return entry === context;
  const scope = Object.entries(entry.params ?? {});
  return entry.context === context && scope.every(([name, value]) => (params.get(name) ?? String(value)) === String(value));
}

function bundleOf(url) {
  const [path, query] = url.slice(`${BASE}ctx/`.length).split("?");
  return path.replace("/", "") + (query ? `?${query}` : "");
}

/** From sending the request to the last byte of its answer, without waiting for a free connection. */
function duration(url) {
  const timing = performance.getEntriesByName(new URL(url, location).href).at(-1);
  return timing?.requestStart ? timing.responseEnd - timing.requestStart : null;
}

/** A Cache-Status such as "mizan; hit" (RFC 9211), in one word. */
function readCacheStatus(line) {
  if (line === null) return "";
  if (line.includes("; hit")) return "hit";
  return line.includes("fwd=bypass") ? "bypass" : "miss";
}

/** The invalidations in the header, which an error has instead of a body's `invalidate`. */
function readHeader(line) {
  return (line ?? "").split(",").filter((entry) => entry.trim()).map((entry) => {
    const [target, ...pairs] = entry.trim().split(";");
    const [context, name] = target.split("/").map(decodeURIComponent);
    const params = Object.fromEntries(pairs.map((pair) => pair.split("=").map(decodeURIComponent)));
    return { context, params, ...(name && { function: name }) };
  });
}
