// Engines that have less than browsers have. React Native's has no half of AbortSignal, and URLSearchParams that throw.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { run, serve, somebody } from "./harness.mjs";

const site = await serve();

/** What React Native lacks, taken away, and a client in a process of its own. */
const PROGRAM = `
  delete AbortSignal.prototype.throwIfAborted;
  delete AbortSignal.any;
  delete AbortSignal.timeout;
  Object.defineProperty(AbortSignal.prototype, "reason", { get: () => undefined });
  for (const name of ["get", "has", "set", "entries"]) {
    URLSearchParams.prototype[name] = () => { throw new Error("URLSearchParams." + name + " is not implemented"); };
  }
  for (const name of ["BroadcastChannel", "addEventListener", "structuredClone"]) delete globalThis[name];
  const { createClient } = await import("./src/mizan_asgi/static/client.js");
  const [baseUrl, id] = process.argv.slice(1);
  const mizan = createClient({ baseUrl, refetchOnFocus: true });
  const params = { user_id: Number(id) };
  const said = async (promise) => console.log(await promise.then(JSON.stringify, (error) => error.name));
`;

const inReactNative = (program) => run(PROGRAM + program, site.baseUrl, somebody());

describe("in React Native's engine", () => {
  test("a signal ends the waiting for bundles and calls, with an AbortError", async () => {
    const output = await inReactNative(`
      const early = new AbortController();
      early.abort();
      for (const ask of [mizan.fetch("user", params, early), mizan.call("echo", { value: 1 }, early)]) await said(ask);
      const [one, other] = [new AbortController(), new AbortController()];
      const asked = [mizan.fetch("user", params, one), mizan.call("echo", { value: 1 }, other)];
      one.abort();
      other.abort();
      for (const ask of asked) await said(ask);
    `);
    assert.deepEqual(output.trim().split("\n"), Array(4).fill("AbortError"));
  });

  test("bundles are fetched, shown and refreshed, also under another spelling", async () => {
    await site.log();
    const output = await inReactNative(`
      const when = "1970-01-01T00:00:05+00:00";
      const end = mizan.subscribe("moment", { when }, () => {});
      await mizan.load("moment", { when });
      await mizan.call("rename_moment", { when: "1970-01-01T00:00:07Z", name: "another" });
      await mizan.call("rename_moment", { when: "1970-01-01T00:00:05Z", name: "Eve" });
      await said(mizan.load("moment", { when }));
      mizan.close();
      await said(mizan.call("echo", { value: 1 }));
    `);
    assert.equal(output, '{"moment":"Eve"}\nError\n');
    const asked = (await site.log()).map((target) => target.match(/^GET .ctx.\w+|^POST .*/)[0]);
    const call = "POST /call/rename_moment/";
    assert.deepEqual(asked, ["GET /ctx/moment", call, call, "GET /ctx/moment"]);
  });
});
