// Two clients on one channel, as in two tabs, and what happens when who asks has changed.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createClient } from "../../src/mizan_asgi/static/client.js";
import { namesOf, serve, show, somebody, turn } from "./harness.mjs";

const site = await serve();
let channels = 0;

/** Clients on a channel of their own, closed when the test has ended. */
function tabs(t, number = 2, options = {}) {
  const channel = `tabs ${(channels += 1)}`;
  const clients = Array.from({ length: number }, () => createClient({ ...site.options, channel, ...options }));
  t.after(() => clients.forEach((one) => one.close()));
  return clients;
}

describe("another tab", () => {
  test("fetches what a call made stale here, and nothing else", async (t) => {
    const [here, there] = tabs(t);
    const [id, other] = [somebody(), somebody()];
    const shown = [show(there, "user", { user_id: id }), show(there, "user", { user_id: other })];
    const mine = show(here, "user", { user_id: id });
    for (const one of [...shown, mine]) await one.loaded();
    await site.log();
    await here.call("rename", { user_id: id, name: "Eve" });
    await shown[0].until((state) => state.data.user_profile.name === "Eve");
    assert.equal(mine.state.data.user_profile.name, "Eve");
    assert.deepEqual(await site.log(), ["POST /call/rename/", `GET /ctx/user/?user_id=${id}`]);
  });

  test("drops what it had asked for before", async (t) => {
    const [here, there] = tabs(t);
    const id = somebody();
    const held = await site.hold(`GET /ctx/user/?user_id=${id}`);
    const shown = show(there, "user", { user_id: id });
    await held.arrived();
    await here.call("rename", { user_id: id, name: "Eve" });
    await held.gone();
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, "Eve"]);
  });

  test("is told by hand as well, and of a call whose answer was lost", async (t) => {
    const [here, there] = tabs(t);
    const id = somebody();
    const shown = show(there, "user", { user_id: id });
    await shown.loaded();
    here.invalidate({ context: "user", params: { user_id: BigInt(id) } });
    await shown.until((state) => state.loading);
    await shown.loaded();
    const held = await site.hold("POST /call/rename/");
    const calling = here.call("rename", { user_id: id, name: "Eve" });
    await held.arrived();
    await held.cut();
    await assert.rejects(calling);
    await shown.until((state) => state.data.user_profile.name === "Eve");
  });

  test("is not told anything on another channel, nor without one", async (t) => {
    const [here] = tabs(t, 1);
    const [elsewhere] = tabs(t, 1);
    const [alone] = tabs(t, 1, { channel: false });
    const shown = [elsewhere, alone].map((one) => show(one, "user", { user_id: 1 }));
    for (const one of shown) await one.loaded();
    const listening = show(tabsWith(t, channels - 2), "user", { user_id: 1 });
    await listening.loaded();
    here.invalidate("user");
    await listening.until((state) => state.loading);
    await listening.loaded();
    assert.ok(shown.every((one) => one.states.length === 2));
  });

  test("shares a channel by the base URL, unless told otherwise", async (t) => {
    const [here, there] = tabs(t, 2, { channel: undefined });
    const shown = show(there, "user", { user_id: 1 });
    await shown.loaded();
    here.invalidate("user");
    await shown.until((state) => state.loading);
    await shown.loaded();
  });
});

function tabsWith(t, channel) {
  const client = createClient({ ...site.options, channel: `tabs ${channel}` });
  t.after(() => client.close());
  return client;
}

describe("when who asks has changed", () => {
  test("nothing of before is known any more, here or in another tab", async (t) => {
    let user = 5;
    const token = () => site.token(user);
    const [here, there] = tabs(t, 2, { token });
    const shown = [show(here, "inbox"), show(there, "inbox")];
    for (const one of shown) await one.loaded();
    await here.fetch("user", { user_id: 1 });
    user = 7;
    here.identify();
    assert.deepEqual(shown[0].state, { data: undefined, error: undefined, loading: true });
    assert.equal(here.state("user", { user_id: 1 }).data, undefined);
    for (const one of shown) await one.until((state) => state.data?.messages[0] === "for 7");
    const told = shown.map((one) => one.data.map((data) => data?.messages[0]));
    assert.deepEqual(told, Array(2).fill([undefined, "for 5", undefined, "for 7"]));
  });

  test("what was asked for before is never shown", async (t) => {
    const [mizan] = tabs(t, 1, { token: await site.token(5) });
    const held = await site.hold("GET /ctx/inbox/");
    const shown = show(mizan, "inbox");
    const loading = mizan.load("inbox");
    await held.arrived();
    mizan.identify(await site.token(7));
    await held.gone();
    await shown.loaded();
    assert.deepEqual(shown.data.map((data) => data?.messages[0]), [undefined, "for 7"]);
    assert.deepEqual(await loading, { messages: ["for 7"] });
  });

  test("nor is what was asked with a token that had yet to come", async (t) => {
    let give;
    const slow = new Promise((resolve) => (give = resolve));
    const [mizan] = tabs(t, 1, { token: () => slow });
    const shown = show(mizan, "inbox");
    await turn();
    mizan.identify(await site.token(7));
    give(await site.token(5));
    await shown.loaded();
    assert.deepEqual(shown.data.map((data) => data?.messages[0]), [undefined, "for 7"]);
  });

  test("a token that is a text is not sent any more, and one that is a function is asked again", async (t) => {
    const token = await site.token(5);
    const [texts] = tabs(t, 1, { token });
    texts.identify();
    await assert.rejects(texts.fetch("inbox"), { code: "unauthorized" });
    const [functions] = tabs(t, 1, { token: () => token });
    functions.identify();
    assert.deepEqual(await functions.fetch("inbox"), { messages: ["for 5"] });
    functions.identify(null);
    await assert.rejects(functions.fetch("inbox"), { code: "unauthorized" });
  });
});
