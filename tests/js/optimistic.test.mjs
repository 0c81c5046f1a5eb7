// Changes that are shown before the server has confirmed them, and how they go.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createClient } from "../../src/mizan_asgi/static/client.js";
import { namesOf, serve, show, somebody, turn } from "./harness.mjs";

const site = await serve();

/** A client that shows a user nobody else has touched. */
async function showing(context = "user", options = {}) {
  const id = somebody();
  const mizan = createClient({ ...site.options, ...options });
  const shown = show(mizan, context, { user_id: id });
  await shown.loaded();
  return { mizan, shown, id, old: `user ${id}` };
}

const renamed = (user_id, name) => ({
  context: "user",
  params: { user_id },
  update: (data) => ({ ...data, user_profile: { ...data.user_profile, name } }),
});

const urlOf = (id) => `GET /ctx/user/?user_id=${id}`;

/** Another change of the same user, which nobody shows optimistically. */
const countUp = (id) => createClient(site.options).call("count", { user_id: id });

describe("an optimistic change", () => {
  test("is shown at once, and gives way to what came of it", async () => {
    const { mizan, shown, id, old } = await showing();
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    assert.equal(shown.state.data.user_profile.name, "Eve…");
    await calling;
    assert.deepEqual(namesOf(shown), [undefined, old, "Eve…", "Eve"]);
    assert.ok(shown.states.slice(1).every((state) => !state.loading));
  });

  test("leaves what it changed as it was", async () => {
    const { mizan, shown, id, old } = await showing();
    const { data } = shown.state;
    await mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: [renamed(id, "Eve…")] });
    assert.equal(data.user_profile.name, old);
  });

  test("is taken back where the server refuses, and nothing is fetched", async () => {
    const { mizan, shown, id } = await showing();
    const before = shown.state;
    await site.log();
    const calling = mizan.call("refuse", { user_id: id }, { optimistic: renamed(id, "Eve…") });
    assert.equal(shown.state.data.user_profile.name, "Eve…");
    await assert.rejects(calling, { code: "conflict" });
    assert.deepEqual(shown.state, before);
    assert.equal(shown.state.data, before.data);
    assert.deepEqual(await site.log(), ["POST /call/refuse/"]);
  });

  test("is taken back where the call cannot be sent", async () => {
    let token = null;
    const { mizan, shown, id, old } = await showing("user", { token: () => token ?? undefined });
    token = Promise.reject(new Error("no token"));
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await assert.rejects(calling, { message: "no token" });
    assert.deepEqual(namesOf(shown), [undefined, old, "Eve…", old]);
  });

  test("stays over what is fetched before the call is answered", async () => {
    const { mizan, shown, id, old } = await showing();
    const held = await site.hold("POST /call/rename/", "before");
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await held.arrived();
    await countUp(id);
    const fetched = await mizan.fetch("user", { user_id: id });
    assert.deepEqual([fetched.user_profile.name, fetched.user_profile.count], [old, 1]);
    assert.deepEqual([shown.state.data.user_profile.name, shown.state.data.user_profile.count], ["Eve…", 1]);
    await held.release();
    await calling;
    await shown.loaded();
    assert.deepEqual(distinct(namesOf(shown)), [undefined, old, "Eve…", "Eve"]);
  });

  test("does not give way to a request that began before the call was answered and ends after it", async () => {
    const { mizan, shown, id, old } = await showing();
    const [reading, calling] = [await site.hold(urlOf(id)), await site.hold("POST /call/explode/", "before")];
    const call = mizan.call("explode", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await calling.arrived();
    const fetching = mizan.fetch("user", { user_id: id });
    await reading.arrived();
    await calling.release();
    await assert.rejects(call, { code: "internal_error" });
    await reading.gone();
    assert.equal((await fetching).user_profile.name, "Eve");
    assert.deepEqual(namesOf(shown), [undefined, old, "Eve…", "Eve"]);
  });

  test("stays until what came of it has been fetched, where it did not come along", async () => {
    const { mizan, shown, id, old } = await showing();
    const held = await site.hold(urlOf(id));
    await mizan.call("echo", { value: 1 }, { optimistic: renamed(id, "Eve…") });
    assert.ok(shown.state.loading);
    await held.arrived();
    assert.deepEqual(namesOf(shown), [undefined, old, "Eve…"]);
    await held.release();
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, old, "Eve…", old]);
  });

  for (const [how, end] of [["failed", null], ["was lost", "cut"], ["was not Mizan's", "spoil"]]) {
    test(`stays until it is known what came of it, where the answer ${how}`, async () => {
      const { mizan, shown, id, old } = await showing();
      const [reading, calling] = [await site.hold(urlOf(id)), await site.hold("POST /call/explode/")];
      const call = mizan.call("explode", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
      await calling.arrived();
      await calling[end ?? "release"]();
      await assert.rejects(call);
      await reading.arrived();
      assert.equal(shown.state.data.user_profile.name, "Eve…");
      await reading.release();
      await shown.loaded();
      assert.deepEqual(namesOf(shown), [undefined, old, "Eve…", "Eve"]);
    });
  }

  test("stays beside the error where that cannot be fetched, until it can", async () => {
    const { mizan, shown, id } = await showing();
    const held = await site.hold(urlOf(id));
    const call = mizan.call("explode", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await assert.rejects(call);
    await held.arrived();
    await held.spoil();
    const failed = await shown.loaded();
    assert.deepEqual([failed.data.user_profile.name, failed.error.status], ["Eve…", 502]);
    await mizan.fetch("user", { user_id: id });
    assert.equal(shown.state.error, undefined);
    assert.equal(shown.state.data.user_profile.name, "Eve");
  });

  test("goes with all that is known where nobody shows it any more", async (t) => {
    const { mizan, shown, id } = await showing("user", { keep: 1 });
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const held = await site.hold(urlOf(id));
    const call = mizan.call("explode", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await assert.rejects(call);
    await held.arrived();
    await held.spoil();
    await shown.loaded();
    shown.end();
    await turn();
    t.mock.timers.tick(1);
    assert.equal(mizan.state("user", { user_id: id }).data, undefined);
  });

  test("stacks: each goes with its own call, and none shows anything older", async () => {
    const { mizan, shown, id, old } = await showing();
    const counted = { context: "user", params: { user_id: id }, update: counting };
    const first = await site.hold("POST /call/rename/", "before");
    const second = await site.hold("POST /call/count/", "before");
    const renaming = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    const counting_ = mizan.call("count", { user_id: id }, { optimistic: counted });
    await first.arrived();
    await second.arrived();
    await second.release();
    await counting_;
    await shown.loaded();
    assert.deepEqual(seen(shown.state), ["Eve…", 1]);
    await first.release();
    await renaming;
    await shown.loaded();
    assert.deepEqual(distinct(shown.states.map((state) => seen(state).join())), [
      ",",
      `${old},0`,
      "Eve…,0",
      "Eve…,0 and more",
      "Eve…,1",
      "Eve,1",
    ]);
  });

  test("refused under another one leaves the other", async () => {
    const { mizan, shown, id, old } = await showing();
    const [first, second] = [await site.hold("POST /call/refuse/"), await site.hold("POST /call/rename/", "before")];
    const refused = mizan.call("refuse", { user_id: id }, { optimistic: renamed(id, "Ann…") });
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await first.arrived();
    await second.arrived();
    await first.release();
    await assert.rejects(refused);
    assert.equal(shown.state.data.user_profile.name, "Eve…");
    await second.release();
    await calling;
    await shown.loaded();
    assert.deepEqual(distinct(namesOf(shown)), [undefined, old, "Ann…", "Eve…", "Eve"]);
  });

  test("of what nobody shows yet is shown by whoever shows it while the call is under way", async () => {
    const id = somebody();
    const mizan = createClient(site.options);
    const held = await site.hold("POST /call/rename/", "before");
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await held.arrived();
    const shown = show(mizan, "user", { user_id: id });
    await shown.loaded();
    await held.release();
    await calling;
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, "Eve…", "Eve"]);
  });

  test("is nowhere to be seen where it was answered before anybody came to look", async () => {
    const { mizan, shown, id } = await showing();
    const held = await site.hold("POST /call/echo/");
    const calling = mizan.call("echo", { value: 1 }, { optimistic: renamed(id, "Eve…") });
    await held.arrived();
    shown.end();
    await held.release();
    await calling;
    const again = show(mizan, "user", { user_id: id });
    await again.loaded();
    assert.deepEqual(namesOf(again), [undefined, `user ${id}`]);
  });

  test("of what went out of date while nobody showed it is shown over what is fetched, not over what was", async () => {
    const { mizan, shown, id } = await showing();
    const held = await site.hold("POST /call/rename/", "before");
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic: renamed(id, "Eve…") });
    await held.arrived();
    shown.end();
    await countUp(id);
    mizan.invalidate("user");
    await turn();
    const again = show(mizan, "user", { user_id: id });
    await again.loaded();
    assert.deepEqual(again.states.map(seen), [[undefined, undefined], ["Eve…", 1]]);
    await held.release();
    await calling;
  });

  test("is forgotten with everything else when somebody else asks", async () => {
    const { mizan, shown, id, old } = await showing();
    const held = await site.hold("POST /call/echo/");
    const calling = mizan.call("echo", { value: 1 }, { optimistic: renamed(id, "Eve…") });
    await held.arrived();
    mizan.identify();
    await shown.loaded();
    await held.release();
    await calling;
    await shown.loaded();
    assert.deepEqual(distinct(namesOf(shown)), [undefined, old, "Eve…", undefined, old]);
  });

  test("may be several, of several contexts", async () => {
    const { mizan, shown, id } = await showing();
    const shaky = show(mizan, "shaky", { user_id: id });
    await shaky.loaded();
    const optimistic = [
      renamed(id, "Eve…"),
      { context: "shaky", params: { user_id: id }, update: () => ({ shaky: "Eve…" }) },
    ];
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { optimistic });
    assert.deepEqual([shown.state.data.user_profile.name, shaky.state.data.shaky], ["Eve…", "Eve…"]);
    await calling;
    assert.deepEqual([shown.state.data.user_profile.name, shaky.state.data.shaky], ["Eve", "Eve"]);
  });
});

function counting(data) {
  return { ...data, user_profile: { ...data.user_profile, count: `${data.user_profile.count} and more` } };
}

function seen({ data }) {
  return [data?.user_profile.name, data?.user_profile.count];
}

function distinct(values) {
  return values.filter((one, place) => place === 0 || one !== values[place - 1]);
}
