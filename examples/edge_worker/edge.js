// What an edge decides, without doing anything: which URLs may be kept, and which tags URLs and invalidations have
// (docs/protocol.md, section 15). `tables` are written by `mizan edge worker`.

export const EVERYTHING = "*";
const MAXIMUM_URL = 1024;
const PARAMETER = /\{([^{}:]*)(?::([^{}]*))?\}/g;

export class Edge {
  constructor(tables) {
    this.tables = tables;
    this.call = new RegExp(tables.call);
    this.entry = new RegExp(tables.entry);
    this.passing = tables.passing.map((pattern) => new RegExp(pattern));
    this.routes = tables.routes.map(([pattern, affected]) => [new RegExp(pattern), affected]);
    this.surfaces = tables.surfaces.map((one) => ({
      ...one,
      pattern: new RegExp(one.pattern),
      captures: Object.entries(one.captures).map(([name, pattern]) => [name, new RegExp(pattern)]),
    }));
  }

  /** The canonical URL, tags and versions of what may be kept at a path and query; null if it has to be passed on. */
  locate(url) {
    const mark = url.indexOf("?");
    const path = mark < 0 ? url : url.slice(0, mark);
    const query = mark < 0 ? "" : url.slice(mark + 1);
    if (url.length > MAXIMUM_URL || /[\r\n]/.test(url) || this.passing.some((one) => one.test(path))) return null;
    const found = this.surfaces.filter((one) => one.pattern.test(url));
    if (!found.length) return null;
    const tags = new Set([EVERYTHING]);
    for (const surface of found) {
      const texts = this.#texts(surface, path, query);
      for (const template of surface.templates) {
        if (template.names.every((name) => texts.has(name))) tags.add(tagOf(template, texts));
      }
    }
    let canonical = path;
    const [first] = found;
    if (found.length === 1 && first.twoSpellings && path.endsWith("/") !== first.path.endsWith("/")) {
      canonical = path.endsWith("/") ? path.slice(0, -1) : `${path}/`;
    }
    return { url: canonical + url.slice(path.length), tags: [...tags], surfaces: found };
  }

  /** The tags that the entries of `X-Mizan-Invalidate` purge. */
  tagsOf(header) {
    const entries = entriesOf(header);
    if (entries.length > this.tables.maximumEntries) return [EVERYTHING];
    const tags = new Set();
    for (const entry of entries) {
      const read = this.#read(entry);
      if (read === null) return [EVERYTHING];
      const shape = this.tables.shapes[read.context].find(({ names }) => names.every((name) => read.texts.has(name)));
      for (const template of shape.templates) tags.add(tagOf(template, read.texts));
    }
    return [...tags];
  }

  /** The canonical URLs that the entries name outright: what can be fetched again. */
  urlsOf(header) {
    const urls = new Set();
    for (const entry of entriesOf(header)) {
      const read = this.#read(entry);
      for (const surface of read === null ? [] : this.surfaces) {
        const url = surface.context === read.context ? urlOf(surface, read.texts) : null;
        const located = url === null ? null : this.locate(url);
        if (located !== null && located.surfaces.length === 1 && located.surfaces[0] === surface) urls.add(url);
      }
    }
    return [...urls];
  }

  /** What a write at this path affects if no origin answers it, as `X-Mizan-Invalidate` says it. */
  affectedAt(path) {
    if (path.includes("%")) return EVERYTHING;
    const affected = [];
    const called = this.call.exec(path);
    if (called) {
      const name = called[1] ?? "";
      if (Object.hasOwn(this.tables.calls, name)) affected.push(...this.tables.calls[name]);
      else if (!this.tables.harmless.includes(name)) return EVERYTHING;
    }
    for (const [pattern, contexts] of this.routes) if (pattern.test(path)) affected.push(...contexts);
    return [...new Set(affected)].join(", ");
  }

  /** What a write at the URL of a page makes stale at least, also one that Mizan knows nothing of (RFC 9111, 4.4). */
  writtenAt(path) {
    const pages = this.surfaces.filter((one) => one.isPage && one.pattern.test(path));
    return pages
      .map((one) => one.context + one.captures.map(([name, pattern]) => `;${name}=${textAt(pattern, path)}`).join(""))
      .join(", ");
  }

  #texts(surface, path, query) {
    const texts = new Map(Object.entries(surface.filled));
    for (const [name, pattern] of surface.captures) texts.set(name, textAt(pattern, path));
    for (const pair of query.split("&")) {
      const equals = pair.indexOf("=");
      if (equals > 0 && !surface.lists.includes(pair.slice(0, equals))) {
        texts.set(pair.slice(0, equals), pair.slice(equals + 1));
      }
    }
    return texts;
  }

  /** The context and the texts of an entry; null if it cannot be understood. */
  #read(entry) {
    if (!this.entry.test(entry)) return null;
    const [head, ...pairs] = entry.split(";");
    const context = head.split("/")[0];
    if (!Object.hasOwn(this.tables.shapes, context)) return null;
    const texts = new Map(pairs.map((pair) => pair.split("=")));
    return texts.size === pairs.length ? { context, texts } : null;
  }
}

function entriesOf(header) {
  return header
    .split(",")
    .map((entry) => entry.replace(/^[ \t]+|[ \t]+$/g, ""))
    .filter((entry) => entry !== "");
}

function tagOf(template, texts) {
  return template.head + template.names.map((name) => `;${name}=${texts.get(name)}`).join("");
}

function textAt(pattern, path) {
  return pattern.exec(path)[1].replaceAll("/", "%2F");
}

/** As `urls_of_invalidations` of mizan_core.edge. */
function urlOf(surface, texts) {
  if (surface.hasLists) return null;
  const inPath = surface.captures.map(([name]) => name);
  const written = new Map();
  for (const name of surface.params) {
    const text = texts.get(name);
    const preset = surface.filled[name];
    if (text === undefined) {
      if (preset === undefined && (!surface.nullable.includes(name) || inPath.includes(name))) return null;
    } else if (text !== preset) {
      if (!inPath.includes(name) && !surface.inQuery.includes(name)) return null;
      written.set(name, text);
    }
  }
  const path = surface.path.replace(PARAMETER, (_, name, convertor) =>
    convertor === "path" ? written.get(name).replaceAll("%2F", "/") : written.get(name),
  );
  const query = surface.inQuery.filter((name) => written.has(name)).map((name) => `${name}=${written.get(name)}`);
  return query.length ? `${path}?${query.join("&")}` : path;
}
