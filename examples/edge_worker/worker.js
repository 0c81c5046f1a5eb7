// A Cloudflare Worker that keeps what is for everyone, and never serves what a purge made stale (docs/protocol.md,
// section 15). The key of what is kept holds the generations that its tags had when the request came. They are in one
// Durable Object, which all data centres ask, so an answer that was under way during a purge is stored under a key that
// no later request has.
import { DurableObject } from "cloudflare:workers";
import { EVERYTHING, Edge } from "./edge.js";
import { tables } from "./tables.js";

/** Generations are shared by tags of the same bucket, so that the table stays small. */
const BUCKETS = 32_768;
const REFETCHED_AT_ONCE = 4;
/** Of a request for something that is kept, beside what the tables name: it has to be answered whole. */
const PARTIAL = ["If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range"];

const edge = new Edge(tables);

export class Generations extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec("CREATE TABLE IF NOT EXISTS generations (bucket INTEGER PRIMARY KEY, generation INTEGER NOT NULL)");
    this.sql.exec("CREATE TABLE IF NOT EXISTS start (name TEXT NOT NULL)");
    if (!this.sql.exec("SELECT name FROM start").toArray().length) {
      this.sql.exec("INSERT INTO start VALUES (?)", crypto.randomUUID());
    }
    // A new object begins with generations that no object had before.
    this.start = this.sql.exec("SELECT name FROM start").one().name;
    this.known = new Map(this.sql.exec("SELECT * FROM generations").toArray().map((one) => [one.bucket, one.generation]));
    this.last = Math.max(0, ...this.known.values());
  }

  read(buckets) {
    return [this.start, ...buckets.map((bucket) => this.known.get(bucket) ?? 0)].join(" ");
  }

  /** The answer leaves the object once this is stored. */
  advance(buckets) {
    this.last += 1;
    for (const bucket of buckets) {
      this.sql.exec("INSERT OR REPLACE INTO generations VALUES (?, ?)", bucket, this.last);
      this.known.set(bucket, this.last);
    }
  }
}

export default {
  async fetch(request, env, ctx) {
    if (request.method === "PURGE") return purgeByOrigin(request, env, ctx);
    if (!["GET", "HEAD", "OPTIONS"].includes(request.method)) {
      const writing = write(request, env, ctx);
      ctx.waitUntil(writing.catch(() => {})); // a write goes on, and is heard, when the client has gone away
      return writing;
    }
    const located = request.method === "OPTIONS" ? null : edge.locate(targetOf(request));
    return located === null ? pass(request, env, ctx) : keep(request, located, env, ctx);
  },
};

async function purgeByOrigin(request, env, ctx) {
  if (!env.PURGE_SECRET || !(await isEqual(request.headers.get("Authorization") ?? "", `Bearer ${env.PURGE_SECRET}`))) {
    return new Response("405 Method Not Allowed", {
      status: 405,
      headers: { Allow: "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", "Cache-Control": "no-store" },
    });
  }
  const header = request.headers.get("X-Mizan-Invalidate");
  if (header === null) return new Response("400 Bad Request", { status: 400 });
  await purge(header, request, env, ctx);
  return new Response("200 Purged", { headers: { "Cache-Control": "no-store" } });
}

/** Sends a write on. What it makes stale is purged before its answer is sent. */
async function write(request, env, ctx) {
  const path = targetOf(request).replace(/\?.*$/s, "");
  let answer;
  try {
    answer = await fetch(new Request(addressOf(request, env), request), { redirect: "manual" });
  } catch {
    answer = new Response("502 Bad Gateway", { status: 502 });
  }
  const header = answer.headers.get("X-Mizan-Invalidate");
  const isOrigins = /^application\/problem\+json/i.test(answer.headers.get("Content-Type") ?? "");
  if (header !== null) await purge(header, request, env, ctx);
  else if (answer.status >= 500 && !isOrigins) await purge(edge.affectedAt(path), request, env, ctx);
  else if (answer.status < 400) await purge(edge.writtenAt(path), request, env, ctx);
  return forCachesBehind(answer);
}

/** Sends any other request on as it came; its answer is kept nowhere. */
async function pass(request, env, ctx) {
  const answer = await fetch(new Request(addressOf(request, env), request), { redirect: "manual", cache: "no-store" });
  const header = answer.headers.get("X-Mizan-Invalidate");
  if (header !== null) await purge(header, request, env, ctx);
  return answer.webSocket ? answer : forCachesBehind(answer);
}

async function keep(request, located, env, ctx) {
  const key = await keyOf(request, located, env); // the generations of now, before the origin is asked
  const kept = await caches.default.match(key);
  if (kept) return hit(request, kept);
  // The answer is the same for everyone, so nothing of who asks goes to the origin.
  const headers = new Headers(request.headers);
  for (const name of [...tables.leftOut, ...PARTIAL]) headers.delete(name);
  const asked = new Request(addressOf(request, env, located.url), { method: "GET", headers });
  const answer = await fetch(asked, { redirect: "manual", cache: "no-store" });
  const lifetime = lifetimeOf(answer);
  const header = answer.headers.get("X-Mizan-Invalidate");
  if (header !== null) await purge(header, request, env, ctx);
  const body = await answer.arrayBuffer(); // an answer that breaks off is not kept
  if (lifetime > 0) ctx.waitUntil(caches.default.put(key, stored(answer, body, lifetime)));
  const sent = forCachesBehind(new Response(bodyFor(request, answer.status, body), answer));
  return withStatus(sent, "mizan-edge; fwd=uri-miss");
}

function hit(request, kept) {
  const headers = new Headers(kept.headers);
  const [control, since] = [headers.get("X-Mizan-Control"), Number(headers.get("X-Mizan-Stored"))];
  for (const name of ["X-Mizan-Control", "X-Mizan-Stored", "CF-Cache-Status"]) headers.delete(name);
  headers.set("Cache-Control", control);
  headers.set("Age", String(Math.max(0, Math.floor((Date.now() - since) / 1_000))));
  const isKnown = (request.headers.get("If-None-Match") ?? "").split(",").some((one) => isSame(one, headers.get("ETag")));
  const body = isKnown || request.method === "HEAD" ? null : kept.body;
  return withStatus(new Response(body, { status: isKnown ? 304 : 200, headers }), "mizan-edge; hit");
}

function isSame(tag, known) {
  const bare = (text) => text.trim().replace(/^W\//, "");
  return known !== null && (tag.trim() === "*" || bare(tag) === bare(known));
}

/** For how many seconds an answer may be kept: what the origin sends for everyone, whole, and nothing else. */
function lifetimeOf(answer) {
  const said = `,${(answer.headers.get("Cache-Control") ?? "").toLowerCase().replace(/[ \t]/g, "")},`;
  const vary = (answer.headers.get("Vary") ?? "").toLowerCase();
  const isKept =
    answer.status === 200 &&
    said.includes(",public,") &&
    !/,(private|no-store|no-cache|stale-)/.test(said) &&
    ["", "accept-encoding"].includes(vary) &&
    !answer.headers.has("Set-Cookie") &&
    !answer.headers.has("X-Mizan-Invalidate") &&
    !/[1-9]/.test(answer.headers.get("Age") ?? "");
  return isKept ? Number(/,s-maxage=(\d+),/.exec(said)?.[1] ?? 0) : 0;
}

function stored(answer, body, lifetime) {
  const copy = forCachesBehind(new Response(body, answer));
  copy.headers.set("X-Mizan-Control", copy.headers.get("Cache-Control"));
  copy.headers.set("X-Mizan-Stored", String(Date.now()));
  copy.headers.set("Cache-Control", `max-age=${lifetime}`);
  copy.headers.delete("Vary");
  return copy;
}

/** Caches behind this one are told of no purge. */
function forCachesBehind(answer) {
  const control = answer.headers.get("Cache-Control");
  if (control === null || !(answer.headers.get("Cache-Status") ?? "").startsWith("mizan;")) return answer;
  const copy = new Response(answer.body, answer);
  copy.headers.set("Cache-Control", `,${control}`.replace(/,[ \t]*s-maxage=[^,]*/gi, "").replace(/^,[ \t]*/, ""));
  return copy;
}

function withStatus(answer, status) {
  const before = answer.headers.get("Cache-Status");
  answer.headers.set("Cache-Status", before ? `${before}, ${status}` : status);
  return answer;
}

/** Advances the generations, and fetches again what is named outright where REFETCH says how many. */
async function purge(header, request, env, ctx) {
  if (header === "") return;
  const tags = header === EVERYTHING ? [EVERYTHING] : edge.tagsOf(header);
  await generations(env).advance([...new Set(tags.map(bucketOf))]);
  const urls = edge.urlsOf(header).slice(0, Number(env.REFETCH ?? 0));
  if (urls.length) ctx.waitUntil(refetch(urls, request, env, ctx));
}

async function refetch(urls, request, env, ctx) {
  const next = async () => {
    for (let url = urls.shift(); url !== undefined; url = urls.shift()) {
      try {
        const asked = new Request(new URL(request.url).origin + url);
        const answer = await keep(asked, edge.locate(url), env, ctx);
        await answer.body?.cancel();
      } catch (error) {
        console.warn(`${url} could not be fetched again: ${error}`);
      }
    }
  };
  await Promise.all(Array.from({ length: REFETCHED_AT_ONCE }, next));
}

function generations(env) {
  return env.GENERATIONS.get(env.GENERATIONS.idFromName("mizan"));
}

async function keyOf(request, located, env) {
  const { origin } = new URL(request.url);
  const versions = located.surfaces.map((one) => one.version).join(" ");
  const current = await generations(env).read(located.tags.map(bucketOf));
  const digest = await crypto.subtle.digest("SHA-256", bytes(`${located.url} ${versions} ${current}`));
  return new Request(`${origin}/.mizan-edge/${hex(digest)}`);
}

/** The bucket of a tag (FNV-1a). That of everything is its own. */
function bucketOf(tag) {
  if (tag === EVERYTHING) return BUCKETS;
  let hash = 0x811c9dc5;
  for (const byte of bytes(tag)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash % BUCKETS;
}

/** Path and query as they were sent. */
function targetOf(request) {
  return /^[a-z]+:\/\/[^/?#]*([^#]*)/i.exec(request.url)[1] || "/";
}

/** Where a request goes: to the zone's own origin, or to ORIGIN, for a trial. */
function addressOf(request, env, target = targetOf(request)) {
  return (env.ORIGIN ?? new URL(request.url).origin) + target;
}

function bodyFor(request, status, body) {
  return request.method === "HEAD" || [204, 205, 304].includes(status) ? null : body;
}

async function isEqual(one, other) {
  const [a, b] = await Promise.all([one, other].map((text) => crypto.subtle.digest("SHA-256", bytes(text))));
  return crypto.subtle.timingSafeEqual(a, b);
}

function bytes(text) {
  return new TextEncoder().encode(text);
}

function hex(buffer) {
  return [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
