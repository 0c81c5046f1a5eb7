// A real server for a test file, and what tests say to it beside the clients.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PYTHON = process.env.PYTHON ?? `${ROOT}/.venv/bin/python`;

const DEFAULTS = { user: { page: 1 }, orders: { tags: [] } };

/** Starts the site in a process of its own, for as long as the tests of this file run. */
export async function serve() {
  const server = spawn(PYTHON, ["-m", "tests.js.site"], { cwd: ROOT, stdio: ["pipe", "ignore", "pipe"] });
  after(async () => {
    server.stdin.end();
    if (server.exitCode === null) await once(server, "exit");
  });
  let url;
  const lines = createInterface(server.stderr);
  for await (const line of lines) {
    url = line.match(/running on (http:\S+)/)?.[1];
    if (url) break;
  }
  if (!url) throw new Error("The server did not start.");
  server.stderr.resume();
  return new Site(url, server);
}

class Site {
  constructor(url, server) {
    this.url = url;
    this.server = server;
    this.baseUrl = `${url}/api/mizan`;
    this.options = { baseUrl: this.baseUrl, defaults: DEFAULTS, channel: false };
  }

  async #control(method, path) {
    const response = await fetch(`${this.url}/control/${path}`, { method });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  /** The targets of what was asked since the last time. */
  async log() {
    return (await this.requests()).map((one) => one.target);
  }

  requests() {
    return this.#control("GET", "log");
  }

  token(user) {
    return this.#control("GET", `token?user=${user}`);
  }

  /** Holds the next request whose target begins so: before it is computed, or when its answer is ready to leave. */
  async hold(target, when = "after") {
    const query = new URLSearchParams({ target, when });
    const number = await this.#control("POST", `hold?${query}`);
    return {
      arrived: () => this.#control("GET", `arrived/${number}`),
      gone: () => this.#control("GET", `gone/${number}`),
      release: () => this.#control("POST", `release/${number}`),
      cut: () => this.#control("POST", `release/${number}?end=cut`),
      /** A failure is answered, with a header that nobody can read. */
      garble: () => this.#control("POST", `release/${number}?end=garble`),
      /** A proxy answers in its place: 502, with a text. */
      spoil: () => this.#control("POST", `release/${number}?end=proxy`),
    };
  }
}

/** Shows a context and remembers every state that it was told. */
export function show(client, context, params) {
  const states = [];
  const waiting = new Set();
  const end = client.subscribe(context, params, (state) => {
    states.push(state);
    for (const check of [...waiting]) check();
  });
  const shown = {
    states,
    end,
    get state() {
      return states.at(-1);
    },
    /** The data that was shown, one after the other, without repeats. */
    get data() {
      return states.map((one) => one.data).filter((data, place, all) => place === 0 || data !== all[place - 1]);
    },
    /** Settles as soon as the state is such. */
    until(condition) {
      return new Promise((resolve) => {
        const check = () => {
          if (!condition(shown.state)) return;
          waiting.delete(check);
          resolve(shown.state);
        };
        waiting.add(check);
        check();
      });
    },
    loaded: () => shown.until((state) => !state.loading),
  };
  return shown;
}

/** What JSON.stringify leaves out or writes as `{}` or null, without a word. */
export const UNWRITABLE = [
  new File(["text"], "photo.png"),
  new Blob(["text"]),
  new FormData(),
  new URLSearchParams({ a: "b" }),
  new Headers({ a: "b" }),
  new Response("text"),
  new Map([["a", 1]]),
  new Set([1]),
  new WeakMap(),
  new Uint8Array([1, 2]),
  new ArrayBuffer(2),
  new (class Money { #cents = 5; })(),
  new (class Tags extends Map { a = 1; })(),
  Object.create({ inherited: 1 }),
  new Error("failed"),
  new Event("click"),
  Promise.resolve(1),
  /expression/,
  new String("boxed"),
  () => 1,
  class {},
  Symbol("symbol"),
  NaN,
  -Infinity,
  [1, undefined],
  Array(2),
];

let number = 100;

/** A user whom no other test has touched. */
export const somebody = () => ++number;

/** Runs a program in a process of its own, which has to end by itself, and gives what it wrote. */
export async function run(program, ...args) {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program, ...args], { cwd: ROOT });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  await once(child, "close");
  return output;
}

/** The names that a context shows, one after the other. */
export const namesOf = (shown) => shown.data.map((data) => data?.user_profile.name);

/** Until everything is done that waits for this turn to end. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));
