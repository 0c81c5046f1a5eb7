// The client of `awkward`: which requests its functions and contexts make.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { createMizan, MizanError } from "./mizan.js";

let server, mizan, asked, answer;

before(async () => {
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    asked.push(`${request.method} ${request.url}${body && ` ${body}`}`);
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
});

after(() => server.close());

beforeEach(() => {
  asked = [];
  answer = { result: null };
  mizan?.client.close();
  mizan = createMizan({ baseUrl: `http://127.0.0.1:${server.address().port}/awk`, channel: false });
});

after(() => mizan.client.close());

test("a function is called by its name on the server", async () => {
  answer = { result: { name: "Ada" } };
  assert.deepEqual(await mizan.save_account({ account: { name: "Ada" } }), { name: "Ada" });
  await mizan["a.b-c"]({ models: {} });
  await mizan.contexts_({ then: true });
  await mizan.then_();
  await mizan.delete({ item: {}, other: {} });
  assert.deepEqual(asked, [
    'POST /awk/call/save_account/ {"account":{"name":"Ada"}}',
    'POST /awk/call/a.b-c/ {"models":{}}',
    'POST /awk/call/contexts/ {"then":true}',
    "POST /awk/call/then/ {}",
    'POST /awk/call/delete/ {"item":{},"other":{}}',
  ]);
});

test("no name of a function makes the client something else", async () => {
  assert.equal(Object.getPrototypeOf(mizan), Object.prototype);
  assert.ok(Object.hasOwn(mizan, "__proto__"));
  await mizan["__proto__"]();
  assert.deepEqual(asked, ["POST /awk/call/__proto__/ {}"]);
  assert.equal(await mizan, mizan);
});

test("a context is asked for by its canonical URL, its defaults left out", async () => {
  answer = { scalars: {} };
  const odd = mizan.contexts["odd.context-1"];
  await odd.fetch({ user_id: 5, color: "red", ratio: 0.5, day: "2026-01-02", ids: [], level: null });
  await odd.fetch({ user_id: 5, ids: [2, 1], color: "deep blue", ratio: 1.0 });
  await mizan.contexts.inbox_params.fetch({ x: 1 });
  assert.deepEqual(asked, [
    "GET /awk/ctx/odd.context-1/?user_id=5",
    "GET /awk/ctx/odd.context-1/?color=deep%20blue&ids=2&ids=1&ratio=1&user_id=5",
    "GET /awk/ctx/inbox_params/",
  ]);
});

test("a context is shown, known, and forgotten", async () => {
  answer = { inbox: null };
  const { inbox } = mizan.contexts;
  assert.equal(inbox.state().data, undefined);
  const loaded = inbox.load();
  assert.deepEqual(await loaded, { inbox: null });
  assert.equal(inbox.load(), loaded);
  assert.deepEqual(inbox.state().data, { inbox: null });
  const again = new Promise((done) => {
    const end = inbox.subscribe({}, ({ data }) => data?.inbox && (end(), done(data)));
    answer = { inbox: [1, "letter"] };
    inbox.invalidate();
  });
  assert.deepEqual(await again, { inbox: [1, "letter"] });
  assert.equal(asked.length, 2);
});

test("only the bundles of a scope are forgotten", async () => {
  answer = { scalars: {} };
  const odd = mizan.contexts["odd.context-1"];
  await odd.load({ user_id: 5 });
  await odd.load({ user_id: 7 });
  odd.invalidate({ user_id: 7 });
  await odd.load({ user_id: 5 });
  await odd.load({ user_id: 7 });
  assert.deepEqual(asked.slice(2), ["GET /awk/ctx/odd.context-1/?user_id=7"]);
});

test("an answer that is none of the protocol's is an error", async () => {
  answer = [];
  await assert.rejects(mizan.then_(), MizanError);
});
