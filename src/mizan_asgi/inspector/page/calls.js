// The live list: calls with what they made stale and what followed, fetches, purges, and what was proved stale.

import { count, duration, find, make, size } from "./dom.js";

const MAXIMUM = 300;
const MAXIMUM_REASONS = 50;
const MAXIMUM_BUNDLES = 6;

export class LiveList {
  constructor() {
    this._list = find("calls");
    this._items = new Map(); // by worker and number: the record and its element
    this._find = find("find");
    this._fetches = find("show-fetches");
    this._find.addEventListener("input", () => this._filter());
    this._fetches.addEventListener("change", () => this._filter());
    find("filter").addEventListener("submit", (event) => event.preventDefault());
    find("clear").addEventListener("click", () => this.clear());
  }

  clear() {
    this._items.clear();
    this._list.replaceChildren();
    this._notice();
  }

  take(records, worker, several) {
    for (const record of records) {
      if (record.kind === "proof" && record.call !== null) continue; // the call tells it
      this._show(record, `${worker}.${record.number}`, several ? worker : null);
    }
    while (this._items.size > MAXIMUM) {
      const [oldest, item] = this._items.entries().next().value;
      item.element.remove();
      this._items.delete(oldest);
    }
    this._notice();
  }

  _show(record, key, worker) {
    const known = this._items.get(key);
    const element = SHOW[record.kind](record, worker);
    element.hidden = !this._matches(record);
    if (known) {
      const open = known.element.querySelector("details")?.open;
      const details = element.querySelector("details");
      if (details && open) details.open = true;
      const focused = known.element.contains(document.activeElement);
      known.element.replaceWith(element);
      element.classList.add("again");
      if (focused) element.querySelector("summary")?.focus();
    } else {
      this._list.insertBefore(element, this._place(record.at));
    }
    this._items.set(key, { record, element });
    element.at = record.at;
  }

  /** The first element that is older. */
  _place(at) {
    for (const element of this._list.children) if (element.at <= at) return element;
    return null;
  }

  _matches(record) {
    if (record.kind === "fetch" && !this._fetches.checked) return false;
    const wanted = this._find.value.trim().toLowerCase();
    return !wanted || JSON.stringify(record).toLowerCase().includes(wanted);
  }

  _filter() {
    for (const { record, element } of this._items.values()) element.hidden = !this._matches(record);
  }

  _notice() {
    find("nothing").hidden = this._items.size > 0;
    this._list.hidden = this._items.size === 0;
  }
}

const SHOW = { call, fetch: fetched, failed, refused, purge, cache, proof: proved };

function call(record, worker) {
  const ended = record.outcome !== "running";
  const tag = record.outcome === "returned" ? "call" : record.outcome;
  return make(
    "li",
    { class: `call${record.proofs.length ? " blamed" : ""}`, "data-number": record.number },
    line(tag, record, worker, make("span", { class: "name" }, record.function), record.seconds),
    record.error && make("p", { class: "hint" }, record.error),
    ended && scopes(record),
    ended && bar(record),
    ended && layers(record),
    following(record),
    record.proofs.map((text) => make("p", { class: "blame" }, `Proved stale: ${text}`)),
    record.scopes.length > 0 && tags(record),
  );
}

function fetched(record, worker) {
  const name = make("code", {}, record.bundle);
  const why = record.status === "hit" ? null : make("span", { class: "hint" }, record.reason);
  return make("li", { class: "fetch" }, line(record.status, record, worker, name, record.seconds, why, make("span", { class: "hint" }, size(record.bytes))));
}

function failed(record, worker) {
  return make("li", { class: "failed" }, line("failed", record, worker, make("code", {}, record.bundle), record.seconds, make("span", { class: "hint" }, record.error)));
}

function refused(record, worker) {
  const name = record.is_call ? make("span", { class: "name" }, record.name) : make("code", {}, record.name);
  return make("li", { class: "refused-before" }, line("refused", record, worker, name, undefined, make("span", { class: "hint" }, `before it began: ${record.error}`)));
}

function purge(record, worker) {
  const named = record.proved ? `healed: ${record.cause}` : record.cause ? `purged ${record.cause}` : "a purge that no function asked for";
  const name = make("span", {}, named);
  return make("li", { class: "call" }, line("purge", record, worker, name, record.purge), scopes(record), following(record), tags(record));
}

function cache(record, worker) {
  const owed = record.owed ? `, ${count(record.owed, "purge")} owed` : "";
  return make("li", { class: "cache-state" }, line("cache", record, worker, make("span", {}, `The cache is ${record.state}${owed}.`)));
}

function proved(record, worker) {
  const name = make("code", {}, record.bundle);
  return make("li", { class: "proof" }, line("stale", record, worker, name), make("p", { class: "blame" }, blamed(record)), make("p", {}, "Remedy: ", make("code", {}, record.remedy)));
}

/** Proofs at the head of the page: one item for all bundles that were stale for the same reason. */
export class Proofs {
  constructor() {
    this._list = find("stale-list");
    this._reasons = new Map(); // the proofs of each reason
  }

  clear() {
    this._reasons.clear();
    this._show();
  }

  take(records) {
    for (const record of records) {
      const reason = JSON.stringify([record.mutation, record.context, record.path, record.remedy]);
      const known = this._reasons.get(reason) ?? { bundles: new Set(), times: 0 };
      this._reasons.delete(reason); // to stand at the end, as the newest
      known.bundles.add(record.bundle);
      this._reasons.set(reason, { ...known, record, times: known.times + 1 });
    }
    if (records.length) this._show();
  }

  _show() {
    const reasons = [...this._reasons.values()].slice(-MAXIMUM_REASONS).reverse();
    this._list.replaceChildren(...reasons.map(proof));
    find("stale").hidden = reasons.length === 0;
    find("stale-count").textContent = reasons.length ? `${count(reasons.length, "declaration")} proved to miss bundles` : "";
  }
}

function proof({ record, bundles, times }) {
  const named = [...bundles].slice(-MAXIMUM_BUNDLES).join(", ");
  return make(
    "li",
    {},
    make("p", {}, make("strong", { class: "mono" }, named), ` ${blamed(record)}`, times > 1 && make("span", { class: "hint" }, `, ${times} times`)),
    make("dl", {}, [
      [make("dt", {}, "differs at"), make("dd", { class: "mono" }, record.path)],
      record.beside.length > 0 && [make("dt", {}, "beside"), make("dd", { class: "mono" }, record.beside.join(", "))],
      [make("dt", {}, "remedy"), make("dd", { class: "mono" }, record.remedy)],
    ].filter(Boolean).flat()),
  );
}

function blamed(record) {
  return record.mutation ? `was stale after ${record.mutation}` : "was stale after a write outside of any mutation";
}

function line(tag, record, worker, name, seconds, ...more) {
  const at = new Date(record.at * 1000);
  const clock = `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  return make(
    "div",
    { class: "line" },
    make("span", { class: `tag ${tag}` }, tag),
    make("span", { class: "grow" }, name),
    ...more,
    record.caller !== undefined && make("span", { class: "hint" }, record.caller === null ? "anonymous" : `user ${record.caller}`),
    record.inside && make("span", { class: "hint" }, "inside a call"),
    worker && make("span", { class: "hint" }, `worker ${worker}`),
    seconds !== undefined && make("span", { class: "number" }, duration(seconds)),
    make("time", { datetime: at.toISOString() }, clock),
  );
}

function scopes(record) {
  if (!record.scopes.length) return make("p", { class: "hint" }, "made nothing stale");
  const shown = record.scopes.map((one) => make("li", { class: `scope${one.whole ? " whole" : ""}` }, one.text));
  const more = record.more_scopes ? make("li", { class: "hint" }, `and ${record.more_scopes} more`) : null;
  return make("ul", { class: "scopes", "aria-label": "Made stale" }, shown, more);
}

/** How much of the time was the function's, and how much the purge's. */
function bar(record) {
  if (!record.seconds || !record.scopes.length) return null;
  const parts = [["function", record.seconds - record.purge], ["purge", record.purge]];
  const bars = parts.map(([name, seconds]) => {
    const part = make("i", { class: name });
    part.style.width = `${Math.max(0, (100 * seconds) / record.seconds)}%`;
    return part;
  });
  return make("div", { class: "bar", "aria-hidden": "true" }, bars);
}

function layers(record) {
  if (!record.scopes.length) return null;
  const shown = [
    ["function", duration(Math.max(0, record.seconds - record.purge))],
    ["held", duration(record.held)],
    ["cache purged", `in ${duration(record.purge)}`],
    ["caller told", `after ${duration(record.seconds)}`],
    ["fetched again", record.followed ? count(record.followed, "bundle") : "nothing yet"],
  ];
  return make("dl", { class: "layers" }, shown.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function following(record) {
  if (!record.following.length) return null;
  const shown = record.following.map((one) =>
    make("li", { class: "line" }, make("span", { class: `tag ${one.status}` }, one.status), make("span", { class: "grow" }, make("code", {}, one.bundle)), one.status !== "hit" && make("span", { class: "hint" }, one.reason), make("span", { class: "number" }, duration(one.seconds))),
  );
  const more = record.followed - record.following.length;
  return make("div", { class: "following" }, make("p", {}, "Fetched again"), make("ol", {}, shown), more > 0 && make("p", {}, `and ${more} more`));
}

function tags(record) {
  const shown = record.scopes.map((one) => [make("dt", { class: "mono" }, one.text), make("dd", { class: "mono hint" }, one.tag)]);
  return make("details", {}, make("summary", {}, `${count(record.scopes.length, "tag")} purged`), make("dl", {}, shown.flat()));
}
