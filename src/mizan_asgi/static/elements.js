/**
 * For pages whose HTML comes from the server, with htmx or without: an element says what it shows and where its HTML
 * comes from, and whatever answer makes that stale refreshes it.
 *
 *     <script type="module" src="/api/mizan/elements.js"></script>
 *     <section data-mizan="user?user_id=5, inbox" data-mizan-src="/profile/5/">...</section>
 *
 * Importing the module is all. It hears `X-Mizan-Invalidate` in every answer of this origin to `fetch` and to
 * XMLHttpRequest, which is what htmx uses. Elements are looked up when something went stale: they may come and go.
 */

import { decodeHeader, touches } from "./client.js";

/** Stands for the invalidation of whatever there is, where nobody knows what went out of date. */
const EVERYTHING = null;

/** Requests by these methods change nothing. */
const SAFE = /^(GET|HEAD|OPTIONS)$/i;

/** A page may load this module twice, under two URLs. */
const INSTALLED = Symbol.for("mizan.elements");

/** Elements to refresh when this turn is over. */
const due = new Set();

/** What is being fetched for an element. An answer is shown only if nothing has overtaken it. */
const requests = new WeakMap();

if (globalThis.document && !globalThis[INSTALLED]) {
  globalThis[INSTALLED] = true;
  watchFetch();
  watchXMLHttpRequest();
}

/** Refresh what these touch: for what a page learns of in another way. */
export function invalidate(...invalidations) {
  overtake(invalidations);
}

function watchFetch() {
  const { fetch } = globalThis;
  globalThis.fetch = function (input, init) {
    const answer = fetch.apply(this, arguments);
    const asked = { method: init?.method ?? input?.method ?? "GET", url: input?.url ?? input };
    answer.then(
      ({ url, redirected, headers }) => heard(asked, url, redirected, () => headers.get("X-Mizan-Invalidate")),
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

function ended(request, asked) {
  const { status, responseURL } = request;
  if (status === 0) lost(asked);
  else heard(asked, responseURL, responseURL !== asked.url, () => request.getResponseHeader("X-Mizan-Invalidate"));
}

/** An answer that was redirected has said what it made stale to the browser alone. */
function heard({ method }, url, redirected, read) {
  if (!isOurs(url)) return;
  if (redirected && !SAFE.test(method)) overtake(EVERYTHING);
  else overtake(decoded(read()));
}

/** Whether something has changed is not known. */
function lost({ method, url }) {
  if (isOurs(url) && !SAFE.test(method)) overtake(EVERYTHING);
}

function decoded(line) {
  try {
    return decodeHeader(line ?? "");
  } catch {
    return EVERYTHING;
  }
}

function overtake(invalidations) {
  if (invalidations?.length === 0) return;
  const elements = [...document.querySelectorAll("[data-mizan]")];
  const stale = elements.filter((element) => shows(element, invalidations));
  // What is being fetched for an element may hold old HTML of those inside of it, whatever it says that it shows.
  const around = elements.filter((element) => requests.has(element) && stale.some((one) => element.contains(one)));
  for (const element of [...stale, ...around]) {
    requests.get(element)?.abort();
    requests.delete(element);
    if (due.size === 0) queueMicrotask(refreshAll);
    due.add(element);
  }
}

function shows(element, invalidations) {
  if (invalidations === EVERYTHING) return true;
  const bundles = bundlesOf(element.dataset.mizan);
  return invalidations.some((one) => bundles.some(({ context, texts }) => touches(withoutLists(one), context, texts)));
}

/** What an element shows, spelled as in `X-Mizan-Mounted`. A parameter that it leaves out may be anything. */
function bundlesOf(line) {
  return line.split(",").map((member) => {
    const [context, query] = member.trim().split("?");
    return { context, texts: new Map(new URLSearchParams(query)) };
  });
}

/** A query does not tell whether a text is one of a list, so lists do not set elements apart. */
function withoutLists(invalidation) {
  const isList = (value) => Array.isArray(value) || String(value).startsWith("[");
  const params = Object.entries(invalidation.params ?? {}).filter(([, value]) => !isList(value));
  return { context: invalidation.context ?? invalidation, params: Object.fromEntries(params) };
}

/** An element inside of one that is fetched comes with it. */
function refreshAll() {
  const stale = [...due];
  due.clear();
  const within = (element) => stale.some((one) => one !== element && one.dataset.mizanSrc && one.contains(element));
  for (const element of stale.filter((one) => one.isConnected && !within(one))) {
    if (tell(element, "stale") && element.dataset.mizanSrc) refresh(element);
  }
}

async function refresh(element) {
  const request = new AbortController();
  requests.set(element, request);
  const end = await get(element.dataset.mizanSrc, request.signal).then(
    (html) => () => show(element, html),
    (error) => () => tell(element, "error", error),
  );
  if (requests.get(element) !== request) return; // it was overtaken
  requests.delete(element);
  if (element.isConnected) end();
}

async function get(url, signal) {
  const response = await fetch(url, { headers: { Accept: "text/html" }, signal });
  if (!response.ok) throw new Error(`${url} was answered with ${response.status}.`);
  return response.text();
}

/** Of a whole page only what is in the element of the same id. Scripts in it are not run. */
function show(element, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const source = (element.id && template.content.getElementById(element.id)) || template.content;
  keepingFocus(element, () => element.replaceChildren(...source.childNodes));
  globalThis.htmx?.process(element);
  tell(element, "refreshed");
}

/** The field that has the focus keeps it, and what was typed, if the new HTML has a field of the same id. */
function keepingFocus(element, change) {
  const { activeElement: active } = document;
  const { id, value, selectionStart, selectionEnd } = active ?? {};
  const has = Boolean(id) && element !== active && element.contains(active);
  change();
  const again = has && document.getElementById(id);
  if (!again) return;
  if (value !== undefined) again.value = value;
  again.focus();
  if (typeof selectionStart === "number") again.setSelectionRange(selectionStart, selectionEnd);
}

/** Tell the page, by an event that it may listen to anywhere. False where it wants nothing to be done. */
function tell(element, what, detail) {
  return element.dispatchEvent(new CustomEvent(`mizan:${what}`, { bubbles: true, cancelable: true, detail }));
}

function isOurs(url) {
  try {
    return new URL(url, document.baseURI).origin === location.origin;
  } catch {
    return false; // it never left
  }
}

function absolute(url) {
  const { href, hash } = new URL(url, document.baseURI);
  return hash ? href.slice(0, -hash.length) : href;
}
