/**
 * For pages whose HTML comes from the server, with htmx or without: an element names the bundles that it shows and the
 * URL of its HTML, and is refreshed when one of the bundles becomes stale.
 *
 *     <script type="module" src="/api/mizan/elements.js"></script>
 *     <section data-mizan="user?user_id=5, inbox" data-mizan-src="/profile/5/">...</section>
 *
 * Importing the module is enough. It reads `X-Mizan-Invalidate` in every answer of this origin to `fetch` and to
 * XMLHttpRequest, which htmx uses, and messages of other tabs and of clients of this page on a channel. Elements are
 * looked up at each invalidation, so the page may add and remove them.
 *
 * Sanitizers of user-written HTML keep `data-*` attributes, so an attacker may have written such an element. Therefore
 * HTML is taken from this origin alone, and nothing in it runs.
 */

import { decodeHeader, touches } from "./client.js";

/** In place of a list of invalidations: all bundles may be stale. */
const EVERYTHING = null;

/** Methods whose requests change nothing. */
const SAFE = /^(GET|HEAD|OPTIONS)$/i;

/** The key of the first module's `say` on the window: a page may load this module twice, under two URLs. */
const INSTALLED = Symbol.for("mizan.elements");

/** Elements to refresh at the end of this turn. */
const due = new Set();

/** The request under way for each element. An answer is shown only if its request was not overtaken. */
const requests = new WeakMap();

/** Calls by clients of this page whose answers were seen here: the message of the client about them is ignored. */
const heardCalls = new Set();

let channel = null;

if (globalThis.document && !globalThis[INSTALLED]) {
  globalThis[INSTALLED] = say;
  watchFetch();
  watchXMLHttpRequest();
  watchChannel();
  watchHistory();
}

/** Refresh the elements that these touch, in other tabs too: for changes that the page learns of in another way. */
export function invalidate(...invalidations) {
  globalThis[INSTALLED]?.(invalidations);
}

function watchFetch() {
  const { fetch } = globalThis;
  globalThis.fetch = function (input, init) {
    const answer = fetch.apply(this, arguments);
    const asked = { method: init?.method ?? input?.method ?? "GET", url: input?.url ?? input, mizan: init?.mizan };
    answer.then(
      ({ url, redirected, status, headers }) => heard(asked, url, redirected, status, (name) => headers.get(name)),
      () => lost(asked),
    );
    return answer;
  };
}

function watchXMLHttpRequest() {
  const asked = new WeakMap();
  const { open } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, url) {
    const opened = open.apply(this, arguments);
    if (!asked.has(this)) this.addEventListener("loadend", () => ended(this, asked.get(this)));
    asked.set(this, { method, url: absolute(url) });
    return opened;
  };
}

/** The channel of the mount point that this module was loaded from, unless the page names another. */
function watchChannel() {
  if (!globalThis.BroadcastChannel) return;
  const { origin, pathname } = new URL(".", import.meta.url);
  const name = `mizan:${origin === location.origin ? "" : origin}${pathname.slice(0, -1)}`;
  channel = new BroadcastChannel(document.documentElement.dataset.mizanChannel ?? name);
  channel.onmessage = ({ data: { stale, header, call, identity } }) => {
    if (heardCalls.delete(call)) return;
    overtake(identity || stale === EVERYTHING ? EVERYTHING : [...stale, ...(header ?? [])]);
  };
}

/** A page restored from the back/forward cache, or from history, may have missed invalidations. */
function watchHistory() {
  const shown = ({ persisted }) => (persisted || isFromHistory()) && overtake(EVERYTHING);
  addEventListener("pageshow", shown);
  if (document.readyState === "complete") shown({});
}

/** Whether the browser may have restored the page from its cache, by "back" or by reopening a tab. */
function isFromHistory() {
  return performance.getEntriesByType("navigation")[0]?.type === "back_forward";
}

function ended(request, asked) {
  const { status, responseURL } = request;
  if (status === 0) lost(asked);
  else heard(asked, responseURL, responseURL !== asked.url, status, (name) => request.getResponseHeader(name));
}

/**
 * Two kinds of answers do not show what they made stale: a redirected one, whose headers only the browser saw, and one
 * of a proxy in place of the server.
 */
function heard({ method, mizan }, url, redirected, status, read) {
  if (!isOurs(url)) return;
  const line = read("X-Mizan-Invalidate");
  const isFromProxy = status >= 500 && line === null && !/^application\/problem\+json/i.test(read("Content-Type"));
  say((redirected || isFromProxy) && !SAFE.test(method) ? EVERYTHING : decoded(line), mizan);
}

/** A request without an answer: it may have changed anything. */
function lost({ method, url, mizan }) {
  if (isOurs(url) && !SAFE.test(method)) say(EVERYTHING, mizan);
}

function decoded(line) {
  try {
    return decodeHeader(line ?? "");
  } catch {
    return EVERYTHING;
  }
}

/** Refresh elements here, and tell other tabs and the clients of this page. */
function say(stale, mizan) {
  if (stale?.length === 0) return;
  overtake(stale);
  if (mizan && mizan.channel === channel?.name) heardCalls.add(mizan.call); // its client tells them
  else channel?.postMessage({ stale });
}

function overtake(invalidations) {
  if (invalidations?.length === 0) return;
  const elements = [...document.querySelectorAll("[data-mizan]")].filter((one) => !closest(one, "[data-mizan-ignore]"));
  const stale = elements.filter((element) => shows(element, invalidations));
  // A request for an element may bring old HTML of stale elements inside it, so it is repeated too.
  const around = elements.filter((element) => requests.has(element) && stale.some((one) => contains(element, one)));
  for (const element of [...stale, ...around]) {
    requests.get(element)?.abort();
    requests.delete(element);
    if (due.size === 0) queueMicrotask(refreshAll);
    due.add(element);
  }
}

function shows(element, invalidations) {
  if (invalidations === EVERYTHING) return true;
  const bundles = bundlesOf(attribute(element, "data-mizan"));
  return invalidations.some((one) => bundles.some(({ context, texts }) => touches(withoutLists(one), context, texts)));
}

/** The bundles that an element shows, spelled as in `X-Mizan-Mounted`. An omitted parameter may have any value. */
function bundlesOf(line) {
  return line.split(",").map((member) => {
    const [context, query] = member.trim().split("?");
    return { context, texts: new Map(new URLSearchParams(query)) };
  });
}

/** Without list parameters: a query does not tell whether a text is a member of a list, so any list may match. */
function withoutLists(invalidation) {
  const isList = (value) => Array.isArray(value) || String(value).startsWith("[");
  const params = Object.entries(invalidation.params ?? {}).filter(([, value]) => !isList(value));
  return { context: invalidation.context ?? invalidation, params: Object.fromEntries(params) };
}

/** Refresh the elements that are due. One inside another that is fetched comes with it. */
function refreshAll() {
  const stale = [...due];
  due.clear();
  const within = (element) => stale.some((one) => one !== element && sourceOf(one) && contains(one, element));
  for (const element of stale.filter((one) => contains(document, one) && !within(one))) {
    if (tell(element, "stale") && sourceOf(element)) refresh(element);
  }
}

async function refresh(element) {
  const request = new AbortController();
  requests.set(element, request);
  const end = await get(sourceOf(element), request.signal).then(
    (html) => () => show(element, html),
    (error) => () => tell(element, "error", error),
  );
  if (requests.get(element) !== request) return; // it was overtaken
  requests.delete(element);
  if (contains(document, element)) end();
}

async function get(source, signal) {
  if (!isOurs(source)) throw new TypeError(`${source} is of another origin, and HTML is taken from this one alone.`);
  const response = await fetch(source, { headers: { Accept: "text/html" }, mode: "same-origin", signal });
  if (!isOurs(response.url)) throw new TypeError(`${source} led to another origin.`);
  if (!response.ok) throw new Error(`${source} was answered with ${response.status}.`);
  if (!isPage(response)) throw new TypeError(`${source} was not answered with HTML to show.`);
  return response.text();
}

/** Whether a response is HTML to show. Another type, or an attachment, may be a file that a user uploaded. */
function isPage({ headers }) {
  const isFile = /^\s*attachment/i.test(headers.get("Content-Disposition"));
  return /^\s*text\/html\s*(;|$)/i.test(headers.get("Content-Type")) && !isFile;
}

/** Show the HTML in the element; of a whole page, only the content of the element with the same id. */
function show(element, html) {
  const template = document.createElement("template");
  template.innerHTML = html; // in a template nothing runs or loads
  disarm(template.content);
  const id = attribute(element, "id");
  const source = (id && template.content.getElementById(id)) || template.content;
  keepingFocus(element, () => Element.prototype.replaceChildren.apply(element, source.childNodes));
  try {
    globalThis.htmx?.process(element);
  } catch (error) {
    reportError(error); // htmx fails on forms with fields named like methods
  }
  tell(element, "refreshed");
}

/** Elements that run code, embed documents, or change the rest of the page. */
const ACTIVE = [
  ...["script", "iframe", "frame", "object", "embed", "applet", "fencedframe", "portal"],
  ...["base", "meta[http-equiv]", "meta[name]"],
  ...['[attributeName*="href" i]', '[attributeName^="on" i]'], // SVG animations could set attributes removed below
].join();

/** Attributes with texts to read, which may begin with "javascript:" like any word. */
const TEXTUAL = /^(?:title|alt|value|placeholder|label|content|class|id|name|aria-.*)$/;

/**
 * Remove everything that would run: what the safe baseline of the HTML Sanitizer API removes, and what htmx evaluates.
 *
 * Methods are called on the prototypes, since the fields of a form hide its methods of the same names.
 */
function disarm(fragment) {
  for (const element of fragment.querySelectorAll("*")) {
    if (matches(element, ACTIVE)) Element.prototype.remove.call(element);
    if (element instanceof HTMLTemplateElement) disarm(element.content);
    for (const name of Element.prototype.getAttributeNames.call(element)) {
      const value = attribute(element, name);
      const isForeign = /href$/i.test(name) && matches(element, "use") && !isOurs(value);
      if (isForeign || runs(name, value)) Element.prototype.removeAttribute.call(element, name);
    }
  }
}

function runs(name, value) {
  const code = value.replace(/[\0-\x20]/g, ""); // browsers ignore these in URLs
  if (/^on|^srcdoc$|^(?:data-)?hx-(?:on|vars)/i.test(name)) return true;
  if (/^(?:data-)?hx-/i.test(name) && /js:|javascript:/i.test(code)) return true;
  if (/^(?:data-)?hx-trigger/i.test(name) && code.includes("[")) return true;
  return /^(?:javascript|vbscript|js):/i.test(code) && !TEXTUAL.test(name);
}

function attribute(element, name) {
  return Element.prototype.getAttribute.call(element, name);
}

function sourceOf(element) {
  return attribute(element, "data-mizan-src");
}

function matches(element, selector) {
  return Element.prototype.matches.call(element, selector);
}

function closest(element, selector) {
  return Element.prototype.closest.call(element, selector);
}

function contains(node, other) {
  return Node.prototype.contains.call(node, other);
}

/** Change the element, keeping the focus and the typed text if the new HTML has a field of the same id. */
function keepingFocus(element, change) {
  const { activeElement: active } = document;
  const { id, value, selectionStart, selectionEnd } = active ?? {};
  const has = Boolean(id) && element !== active && contains(element, active);
  change();
  const again = has && document.getElementById(id);
  if (!again) return;
  if (value !== undefined) again.value = value;
  again.focus();
  if (typeof selectionStart === "number") again.setSelectionRange(selectionStart, selectionEnd);
}

/** Dispatch a bubbling event. False if a listener prevented its default. */
function tell(element, what, detail) {
  const event = new CustomEvent(`mizan:${what}`, { bubbles: true, cancelable: true, detail });
  return EventTarget.prototype.dispatchEvent.call(element, event);
}

/** Whether a URL is of this origin. (`blob:` URLs have the origin of the page that made them, so schemes differ.) */
function isOurs(url) {
  try {
    const { origin, protocol } = new URL(url, document.baseURI);
    return origin === location.origin && protocol === location.protocol;
  } catch {
    return false; // no valid URL, so no request was sent
  }
}

function absolute(url) {
  const { href, hash } = new URL(url, document.baseURI);
  return hash ? href.slice(0, -hash.length) : href;
}
