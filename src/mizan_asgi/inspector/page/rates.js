// Figures and tables: how bundles were answered, how calls ended, and how wide their purges were.

import { duration, find, make, size, total } from "./dom.js";

/** The rates of all workers together. */
function together(workers, member) {
  const sum = {};
  for (const worker of workers)
    for (const [name, rate] of Object.entries(worker[member] ?? {})) sum[name] = name in sum ? added(sum[name], rate) : rate;
  return sum;
}

const LARGEST = new Set(["largest", "slowest_purge"]);

function added(one, other) {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  const add = (key, a, b) => {
    if (typeof (a ?? b) === "object") return added(a ?? {}, b ?? {});
    return LARGEST.has(key) ? Math.max(a ?? 0, b ?? 0) : (a ?? 0) + (b ?? 0);
  };
  return Object.fromEntries([...keys].map((key) => [key, add(key, one[key], other[key])]));
}

export function showRates(workers, manifest) {
  const contexts = together(workers, "contexts");
  const functions = together(workers, "functions");
  const verified = workers.map((one) => one.verify).filter(Boolean);
  figures(workers, contexts, functions, verified);
  showContexts(contexts, manifest);
  showFunctions(functions, manifest);
  showWidths(verified);
}

function figures(workers, contexts, functions, verified) {
  const rates = Object.values(contexts);
  const hits = rates.reduce((sum, rate) => sum + rate.hits, 0);
  const fetches = rates.reduce((sum, rate) => sum + answered(rate), 0);
  const called = Object.values(functions);
  const calls = called.reduce((sum, rate) => sum + total(rate.outcomes), 0);
  const slowest = Math.max(0, ...called.map((rate) => rate.slowest_purge));
  const owed = workers.reduce((sum, one) => sum + one.cache.owed, 0);
  const down = workers.find((one) => one.cache.state !== "up");
  const proved = verified.reduce((sum, one) => sum + one.proved, 0);
  const shown = [
    ["calls", calls],
    ["fetches", fetches],
    ["hit rate", fetches ? `${Math.round((100 * hits) / fetches)} %` : "none yet"],
    ["slowest purge", calls ? duration(slowest) : "none yet"],
    ["cache", (down ?? workers[0]).cache.state, Boolean(down)],
    ["purges owed", owed, owed > 0],
    ["proved stale", verified.length ? proved : "not verified", proved > 0],
  ];
  find("figures").replaceChildren(...shown.map(([name, value, bad]) => make("div", { class: bad ? "bad" : null }, make("dt", {}, name), make("dd", {}, String(value)))));
}

const answered = (rate) => rate.hits + total(rate.misses) + total(rate.bypasses);

function showContexts(rates, manifest) {
  const names = Object.keys(manifest.contexts);
  const rows = names.filter((name) => name in rates).map((name) => {
    const rate = rates[name];
    const fetches = answered(rate);
    const share = fetches ? rate.hits / fetches : 0;
    const slow = total(rate.misses) + total(rate.bypasses);
    return [name, String(fetches), fetches ? rated(share) : "", reasons(rate.misses), reasons(rate.bypasses), rate.failed ? String(rate.failed) : "", slow ? duration(rate.seconds / slow) : "", rate.largest ? size(rate.largest) : ""];
  });
  table("contexts", "Contexts", ["context", "fetches", "hit rate", "misses", "bypasses", "failed", "mean without a hit", "largest"], rows);
  others("contexts-others", "Not fetched yet", names, rates);
}

function rated(share) {
  const bar = make("i");
  bar.style.width = `${100 * share}%`;
  return [make("span", { class: "rate", "aria-hidden": "true" }, bar), `${Math.round(100 * share)} %`];
}

function showFunctions(rates, manifest) {
  const names = [...new Set([...Object.keys(manifest.mutations), ...Object.keys(rates)])];
  const rows = names.filter((name) => name in rates).map((name) => {
    const rate = rates[name];
    const calls = total(rate.outcomes);
    if (!calls) return [name, "0", "", "", "", "", String(rate.followed)];
    const { returned = 0, ...others } = rate.outcomes;
    return [name, String(calls), reasons(others), duration(rate.seconds / calls), duration(rate.purge / calls), duration(rate.slowest_purge), String(rate.followed)];
  });
  table("mutations", "Functions that are called", ["function", "calls", "not returned", "mean", "mean purge", "slowest purge", "fetched again"], rows);
  others("mutations-others", "Not called yet", names, rates);
}

function showWidths(verified) {
  const widths = verified.flatMap((one) => one.widths);
  const hint = verified.length
    ? "Of the remembered bundles that a call purged: how many had changed. The widest first."
    : "Mizan(verify=Verify()) measures it, and proves what is stale (from mizan_core.proof).";
  const unstable = verified.flatMap((one) => Object.entries(one.unstable));
  const told = unstable.map(([name, path]) => ` ${name} differs from itself at ${path}, so it is not verified.`);
  find("width-hint").textContent = hint + told.join("");
  const rows = widths.map((one) => {
    const unchanged = one.purged - one.changed;
    const narrow = Object.entries(one.narrow_by).map(([name, argument]) => `${name} = ${argument}`).join(", ");
    const shown = unchanged ? make("span", { class: "wide-purge" }, String(unchanged)) : "0";
    return [one.mutation, one.context, String(one.purged), String(one.changed), shown, narrow];
  });
  table("widths", "", ["mutation", "context", "purged", "changed", "for nothing", "would narrow it"], rows);
  find("widths").parentElement.hidden = rows.length === 0;
}

function others(id, title, names, rates) {
  const left = names.filter((name) => !(name in rates));
  find(id).textContent = left.length ? `${title}: ${left.join(", ")}.` : "";
}

const reasons = (counts) => Object.entries(counts).map(([reason, number]) => `${number} ${reason}`).join(", ");

function table(id, title, names, rows) {
  const head = make("thead", {}, make("tr", {}, names.map((name) => make("th", { scope: "col" }, name))));
  const body = rows.map(([name, ...cells]) => {
    const shown = cells.map((cell) => make("td", {}, ...[cell].flat()));
    while (shown.length < names.length - 1) shown.push(make("td"));
    return make("tr", {}, make("th", { scope: "row" }, name), shown);
  });
  find(id).replaceChildren(...[title && make("caption", {}, title), head, make("tbody", {}, body)].filter(Boolean));
}
