// The graph drawn in three columns: mutations, the contexts that they make stale, and the readers of these.

import { draw, find, make } from "./dom.js";

const WIDTH = 1180;
const LEFT = { x: 4, width: 380 };
const MIDDLE = { x: 500, width: 260 };
const RIGHT = { x: 880, width: 296 };
const GAP = 10;
const CONTEXT = 62; // the height of one
const TOP = 34;
const HEAD = 25; // of a box, above its lines
const LINE = 16;
const CHARACTER = 7.85; // of the monospaced typeface at 13 px
const SMALL = 6.95;

export class Graph {
  constructor(manifest) {
    this._contexts = Object.entries(manifest.contexts).map(([name, facts]) => ({ name, ...facts }));
    this._mutations = Object.entries(manifest.mutations).map(([name, facts]) => ({ name, ...facts }));
    this._nodes = new Map();
    this._near = new Map(); // by a node's key: the keys of the nodes next to it
    this._paths = [];
    if (this._contexts.length) find("drawing").append(this._drawn());
    else find("drawing").append(make("p", { class: "note" }, "The graph has no contexts."));
    find("words").append(...this._words());
  }

  /** Let a node glow: something happened to it. */
  glow(kind, name) {
    const node = this._nodes.get(`${kind} ${name}`);
    if (!node) return;
    node.classList.remove("now");
    void node.getBoundingClientRect();
    node.classList.add("now");
  }

  _drawn() {
    const columns = this._placed();
    const height = Math.max(...Object.values(columns).flat().map((one) => one.y + one.height)) + 4;
    const contexts = columns.context;
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": `${this._mutations.length} mutations, ${contexts.length} contexts` });
    const title = (column, text) => draw("text", { class: "title", x: column.x, y: 16 }, text);
    svg.append(title(LEFT, "Mutations"), title(MIDDLE, "Contexts"), title(RIGHT, "Readers"));
    const byName = new Map(columns.context.map((one) => [one.name, one]));
    for (const one of columns.mutation)
      one.targets.forEach((target, place) => {
        const context = byName.get(target.context);
        const from = one.y + HEAD + LINE / 2 - 1 + place * LINE;
        const kind = isWide(target, context) ? "whole" : "narrowed";
        svg.append(this._path(LEFT.x + LEFT.width, from, MIDDLE.x, context.y + CONTEXT / 2, kind, `mutation ${one.name}`, `context ${context.name}`));
      });
    for (const one of columns.reader) {
      const context = byName.get(one.context);
      svg.append(this._path(MIDDLE.x + MIDDLE.width, context.y + CONTEXT / 2, RIGHT.x, one.y + 14, "reads", `context ${one.context}`, `reader ${one.name}`));
    }
    for (const one of columns.mutation) {
      const lines = one.targets.map((target) => [`${target.function ?? target.context}: ${narrowing(target, byName.get(target.context))}`, isWide(target, byName.get(target.context))]);
      svg.append(this._node("mutation", LEFT, one, one.private ? `${one.name} (private)` : one.name, lines));
    }
    for (const one of columns.context) svg.append(this._node("context", MIDDLE, one, one.name, [[`(${parameters(one).join(", ")})`, false], [about(one), false]]));
    for (const one of columns.reader) svg.append(this._node("reader", RIGHT, one, one.route ? `${one.name}  ${one.route}` : one.name, []));
    svg.addEventListener("keydown", (event) => event.key === "Escape" && this._choose(null));
    return svg;
  }

  /** The nodes of each column, with their places: the mutations near the contexts that they make stale. */
  _placed() {
    const blocks = ordered(this._contexts, this._mutations).map((context) => ({ context, height: Math.max(CONTEXT, context.functions.length * 32 - 4) }));
    const mutations = this._mutations.map((one) => ({ ...one, height: HEAD + 6 + one.targets.length * LINE }));
    const needed = Math.max(stacked(blocks), stacked(mutations));
    spread(blocks, needed);
    const middles = new Map(blocks.map(({ context, y, height }) => [context.name, y + height / 2]));
    const middle = (one) => one.affects.reduce((sum, name) => sum + middles.get(name), 0) / one.affects.length;
    mutations.sort((a, b) => middle(a) - middle(b));
    spread(mutations, needed);
    const context = blocks.map((block) => ({ ...block.context, y: block.y + (block.height - CONTEXT) / 2, height: CONTEXT }));
    const reader = blocks.flatMap(({ context: { name, functions }, y, height }) => {
      const first = y + (height - (functions.length * 32 - 4)) / 2;
      return functions.map((one, place) => ({ ...one, context: name, y: first + place * 32, height: 28 }));
    });
    return { mutation: mutations, context, reader };
  }

  _path(x1, y1, x2, y2, kind, from, to) {
    const bend = (x2 - x1) / 2;
    const path = draw("path", { class: kind, d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` });
    this._paths.push({ path, from, to });
    return path;
  }

  _node(kind, column, one, name, lines) {
    const key = `${kind} ${one.name}`;
    const said = [`${kind} ${name}`, ...lines.map(([text]) => text)].join("; ");
    const shown = draw(
      "g",
      { class: `node ${kind}`, tabindex: 0, role: "button", "aria-pressed": "false", "aria-label": said, on: { click: () => this._choose(key), keydown: (event) => this._pressed(event, key) } },
      draw("title", {}, said),
      draw("rect", { x: column.x, y: one.y, width: column.width, height: one.height, rx: 6 }),
      draw("text", { x: column.x + 10, y: one.y + 19 }, cut(name, (column.width - 20) / CHARACTER)),
      lines.map(([text, wide], place) => draw("text", { class: wide ? "small wide" : "small", x: column.x + 10, y: one.y + HEAD + 10 + place * LINE }, cut(text, (column.width - 20) / SMALL))),
    );
    this._nodes.set(key, shown);
    return shown;
  }

  _pressed(event, key) {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    this._choose(key);
  }

  /** Show a node with what it is next to; once more, or null: show everything. */
  _choose(key) {
    const chosen = key === this._chosen ? null : key;
    this._chosen = chosen;
    const svg = find("drawing").querySelector("svg");
    svg.classList.toggle("chosen", chosen !== null);
    const near = new Set(chosen === null ? [] : [chosen]);
    for (const ends of [["from", "to"], ["to", "from"]]) {
      let reached = new Set([chosen]); // as far as it goes in this direction
      while (reached.size) {
        const next = new Set();
        for (const one of this._paths) {
          if (!reached.has(one[ends[0]])) continue;
          one.path.classList.add("near");
          near.add(one[ends[1]]);
          next.add(one[ends[1]]);
        }
        reached = next;
      }
    }
    for (const one of this._paths) one.path.classList.toggle("near", near.has(one.from) && near.has(one.to) && chosen !== null);
    for (const [name, node] of this._nodes) {
      node.classList.toggle("near", near.has(name));
      node.setAttribute("aria-pressed", String(name === chosen));
    }
  }

  *_words() {
    for (const context of this._contexts) {
      yield make("h3", {}, context.name);
      yield make("p", { class: "hint" }, `(${parameters(context).join(", ")}) ${about(context)}`);
      const readers = context.functions.map((one) => one.name).join(", ") || "no readers";
      const changed = this._mutations.flatMap((one) => one.targets.filter((target) => target.context === context.name).map((target) => `${one.name}: ${narrowing(target, context)}`));
      yield make("ul", {}, make("li", {}, "read by ", make("code", {}, readers)), changed.length ? changed.map((text) => make("li", {}, "made stale by ", make("code", {}, text))) : make("li", {}, "made stale by no mutation"));
    }
  }
}

const stacked = (boxes) => boxes.reduce((sum, one) => sum + one.height + GAP, -GAP);

/** Give boxes their places in a column of this height, with equal gaps. */
function spread(boxes, height) {
  const gap = boxes.length > 1 ? Math.min(GAP + (height - stacked(boxes)) / (boxes.length - 1), 120) : GAP;
  let y = TOP + Math.max(0, height - stacked(boxes) - (gap - GAP) * (boxes.length - 1)) / 2;
  for (const box of boxes) {
    box.y = y;
    y += box.height + gap;
  }
}

/** Contexts that mutations make stale together stand next to each other. */
function ordered(contexts, mutations) {
  const left = new Map(contexts.map((one) => [one.name, one]));
  const together = (name) => mutations.filter((one) => one.affects.includes(name)).flatMap((one) => one.affects);
  const sorted = [];
  while (left.size) {
    const queue = [left.keys().next().value];
    while (queue.length) {
      const name = queue.shift();
      if (!left.has(name)) continue;
      sorted.push(left.get(name));
      left.delete(name);
      queue.push(...together(name));
    }
  }
  return sorted;
}

function narrowing(target, context) {
  if (target.by_body) return "by its body";
  const bound = Object.entries(target.params).map(([name, source]) => {
    if (source.arg !== undefined) return source.arg === name ? name : `${name} = ${source.arg}`;
    if (source.result !== undefined) return `${name} = result's ${source.result}`;
    return `${name} = ${source.claim === undefined ? "the caller's id" : `claim ${source.claim}`}`;
  });
  if (bound.length) return `by ${bound.join(", ")}`;
  return parameters(context).length ? "whole" : "whole, it has no parameters";
}

const isWide = (target, context) => !target.by_body && Object.keys(target.params).length === 0 && parameters(context).length > 0;

/** The parameters that clients send, and those that the caller's identity fills in. */
function parameters({ params, identity_params: filled = [] }) {
  return [...params, ...filled.map((name) => `${name}: the caller's`)];
}

function about(context) {
  const kept = context.cache === false ? "never kept" : context.cache ? `kept ${context.cache} s` : "kept";
  const whom = { all: "for everyone", user: "for each user", permissions: "for each permission set" }[context.per];
  const same = context.identity_params ? ` with the same ${context.identity_params.join(" and ")}` : "";
  return `${kept} ${same && context.per === "all" ? "for all callers" : whom}${same}`;
}

const cut = (text, length) => (text.length <= length ? text : `${text.slice(0, Math.floor(length) - 1)}…`);
