// What a call makes stale, and answers that come too late. Answers are delayed on purpose, by the server.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createClient } from "../../src/mizan_asgi/static/client.js";
import { UNWRITABLE, namesOf, serve, show, somebody, turn } from "./harness.mjs";

const site = await serve();

/** A client that shows these bundles, loaded, and a log that begins now. */
async function showing(bundles, options = {}) {
  const mizan = createClient({ ...site.options, ...options });
  const shown = bundles.map(([context, params]) => show(mizan, context, params));
  for (const one of shown) await one.loaded();
  await site.log();
  return [mizan, ...shown];
}

/** What was fetched since, when all of these are at rest. */
async function fetched(...shown) {
  for (const one of shown) await one.loaded();
  return (await site.log()).filter((target) => target.startsWith("GET")).sort();
}

const urlOf = (id, query = "") => `GET /ctx/user/?${query}user_id=${id}`;

describe("what a call made stale", () => {
  test("is what its scope does not set apart, whatever the page", async () => {
    const [id, other] = [somebody(), somebody()];
    const bundles = [{ user_id: id }, { user_id: id, page: 2 }, { user_id: other }, { user_id: other, page: 2 }];
    const [mizan, ...shown] = await showing(bundles.map((params) => ["user", params]));
    mizan.invalidate({ context: "user", params: { user_id: id } });
    assert.deepEqual(shown.map((one) => one.state.loading), [true, true, false, false]);
    assert.deepEqual(await fetched(...shown), [urlOf(id, "page=2&"), urlOf(id)]);
    mizan.invalidate({ context: "user", params: { page: 2, user_id: String(other) }, function: "user_letters" });
    assert.deepEqual(await fetched(...shown), [urlOf(other, "page=2&")]);
    mizan.invalidate("user");
    assert.equal((await fetched(...shown)).length, 4);
    mizan.invalidate("users", { context: "user", params: { user_id: somebody() } });
    assert.deepEqual(await fetched(...shown), []);
  });

  test("is fetched once for a burst of it", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    for (let times = 0; times < 3; times += 1) mizan.invalidate("user", { context: "user", params: { user_id: id } });
    mizan.invalidate("user");
    assert.deepEqual(await fetched(shown), [urlOf(id)]);
    assert.equal(shown.states.length, 4); // nothing, something, loading, something
  });

  test("may have any value of a parameter whose default is not known", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]], { defaults: {} });
    mizan.invalidate({ context: "user", params: { user_id: id, page: 3 } });
    assert.deepEqual(await fetched(shown), [urlOf(id)]);
  });

  test("is not what has a null that the scope has a value for, where the default is known to be null", async () => {
    const id = somebody();
    const defaults = { user: { page: 1, team_id: null } };
    const [mizan, shown] = await showing([["user", { user_id: id }]], { defaults });
    mizan.invalidate({ context: "user", params: { user_id: id, team_id: 3 } });
    assert.deepEqual(await fetched(shown), []);
    mizan.invalidate({ context: "user", params: { user_id: id, team_id: null } });
    assert.deepEqual(await fetched(shown), [urlOf(id)]);
  });

  test("comes with the answer where it is shown, and nothing is fetched", async () => {
    const [id, other] = [somebody(), somebody()];
    const bundles = [["user", { user_id: id }], ["user", { user_id: other }], ["user", { user_id: id, page: 2 }]];
    const [mizan, ...shown] = await showing(bundles);
    assert.equal(await mizan.call("rename", { user_id: id, name: "Evelyn" }), "Evelyn");
    assert.deepEqual(shown.map((one) => one.state.data.user_letters.join("")), ["Ev", "us", "el"]);
    assert.ok(shown.every((one) => !one.state.loading));
    const names = [`page=2&user_id=${id}`, `user_id=${other}`, `user_id=${id}`].map((query) => `user?${query}`);
    const [{ target, mounted }, ...more] = await site.requests();
    assert.deepEqual([target, mounted, more], ["POST /call/rename/", names.join(", "), []]);
  });

  test("is fetched where the answer does not bring it along", async () => {
    const id = somebody();
    const lots = Array.from({ length: 20 }, (_, page) => ["user", { user_id: id, page: page + 2 }]);
    const [mizan, ...shown] = await showing(lots);
    await mizan.call("rename", { user_id: id, name: "Eve" });
    assert.equal((await fetched(...shown)).length, 4);
    assert.ok(shown.every((one) => one.state.data.user_profile.name === "Eve"));
  });

  test("is only said of what is shown", async () => {
    const params = { user_id: somebody() };
    const [mizan, shown, other] = await showing([["user", params], ["shaky", params]]);
    shown.end();
    await mizan.fetch("orders", { customer_id: 1 });
    await mizan.call("echo", { value: 1 });
    other.end();
    await mizan.call("echo", { value: 1 });
    const calls = (await site.requests()).filter((one) => one.target.startsWith("POST"));
    assert.deepEqual(calls.map((one) => one.mounted), [`shaky?user_id=${params.user_id}`, ""]);
  });

  test("is named by at most 4096 bytes, beginning with what was shown last", async () => {
    const mizan = createClient({ ...site.options, baseUrl: site.baseUrl });
    const tags = (length) => ["x".repeat(length)];
    for (const [customer_id, length] of [[1, 10], [2, 3_000], [3, 2_000], [1, 10]]) {
      show(mizan, "orders", { customer_id, tags: tags(length) });
    }
    await mizan.call("echo", { value: 1 });
    const { mounted } = (await site.requests()).find((one) => one.target.startsWith("POST"));
    assert.deepEqual(mounted.match(/customer_id=\d/g), ["customer_id=1", "customer_id=3"]);
    for (const [length, names] of [[28, 3], [27, 2]]) {
      const shown = show(mizan, "orders", { customer_id: 4, tags: tags(4_096 - mounted.length - length) });
      show(mizan, "orders", { customer_id: 5 }).end();
      await mizan.call("echo", { value: 1 });
      const full = (await site.requests()).find((one) => one.target.startsWith("POST")).mounted;
      assert.equal(full.split(", ").length, names);
      if (names === 3) assert.equal(full.length, 4_096);
      shown.end();
    }
    mizan.close();
  });

  test("is refreshed after an error of the server too, as the header has it", async () => {
    const [id, other] = [somebody(), somebody()];
    const [mizan, shown, beside] = await showing([["user", { user_id: id }], ["user", { user_id: other }]]);
    await assert.rejects(mizan.call("explode", { user_id: id, name: "half" }), { status: 500, code: "internal_error" });
    assert.deepEqual(await fetched(shown, beside), [urlOf(id)]);
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "half"]);
  });

  test("is nothing after a refusal, but for what the function had named before", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    await assert.rejects(mizan.call("refuse", { user_id: id }), { code: "conflict" });
    assert.deepEqual(await fetched(shown), []);
    await assert.rejects(mizan.call("refuse", { user_id: id, named: true }), { code: "conflict" });
    assert.deepEqual(await fetched(shown), [urlOf(id)]);
    assert.equal(shown.state.data.user_profile.name, "named");
  });

  test("is spelled as the server spells it, whatever the page calls it", async () => {
    const seconds = somebody();
    const when = new Date(seconds * 1_000 + 250).toISOString().replace("Z", "+00:00");
    const [mizan, shown] = await showing([["moment", { when }]]);
    assert.deepEqual(shown.state.data, { moment: `user ${seconds}` });
    await mizan.call("rename_moment", { when: when.replace("+00:00", "Z"), name: "Eve" });
    assert.deepEqual((await shown.loaded()).data, { moment: "Eve" });
    await site.log();
    await mizan.call("rename_moment", { when: new Date(0), name: "another" });
    assert.deepEqual(await fetched(shown), []);
  });

  test("may be what a page has asked for in another spelling and not been told yet", async () => {
    const seconds = somebody();
    const when = `${new Date(seconds * 1_000).toISOString().slice(0, 19)}+00:00`;
    const held = await site.hold("GET /ctx/moment/");
    const [mizan] = await showing([]);
    const shown = show(mizan, "moment", { when });
    await held.arrived();
    await mizan.call("rename_moment", { when: new Date(seconds * 1_000), name: "Eve" });
    await held.release();
    await shown.until((state) => state.data);
    assert.deepEqual(shown.data.map((data) => data?.moment), [undefined, "Eve"]);
  });

  test("has lists that may have been spelled otherwise", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["orders", { customer_id: `0${id}`, tags: ["a"] }]]);
    mizan.invalidate({ context: "orders", params: { customer_id: id, tags: ["b"] } });
    assert.equal((await fetched(shown)).length, 1);
    mizan.invalidate({ context: "orders", params: { customer_id: somebody() } });
    assert.deepEqual(await fetched(shown), []);
  });

  test("is kept apart where JSON.parse loses digits", async () => {
    const [even, odd] = [9007199254740992n, 9007199254740993n];
    const [mizan, one, other] = await showing([["user", { user_id: even }], ["user", { user_id: odd }]]);
    await mizan.call("rename", { user_id: odd, name: "odd" });
    await fetched(one, other);
    assert.deepEqual(namesOf(one), [undefined, `user ${even}`]);
    await mizan.call("rename", { user_id: even, name: "even" });
    await fetched(one, other);
    assert.deepEqual(namesOf(one), [undefined, `user ${even}`, "even"]);
    assert.deepEqual(namesOf(other), [undefined, `user ${odd}`, "odd"]);
  });
});

describe("an answer that was overtaken", () => {
  test("is never shown, and is fetched again", async () => {
    const id = somebody();
    const held = await site.hold(urlOf(id));
    const [mizan] = await showing([]);
    const shown = show(mizan, "user", { user_id: id });
    const fetching = mizan.fetch("user", { user_id: id });
    await held.arrived();
    mizan.invalidate("inbox");
    await turn();
    await mizan.call("echo", { value: await createClient(site.options).call("rename", { user_id: id, name: "Eve" }) });
    mizan.invalidate({ context: "user", params: { user_id: id } });
    await held.gone();
    await shown.loaded();
    assert.equal((await fetching).user_profile.name, "Eve");
    assert.deepEqual(shown.states.map((one) => one.error), [undefined, undefined]);
    assert.deepEqual(namesOf(shown), [undefined, "Eve"]);
    assert.deepEqual((await fetched(shown)).length, 2);
  });

  test("not even if it is an error", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["shaky", { user_id: id }]]);
    const [reading, calling] = [await site.hold("GET /ctx/shaky/"), await site.hold("POST /call/rename/")];
    const renaming = createClient(site.options).call("rename", { user_id: id, name: "bad" });
    await calling.arrived();
    const fetching = mizan.fetch("shaky", { user_id: id });
    await reading.arrived();
    await calling.release();
    await renaming;
    await mizan.call("rename", { user_id: id, name: "good" });
    await reading.gone();
    assert.deepEqual(await fetching, { shaky: "good" });
    assert.ok(shown.states.every((state) => state.error === undefined));
  });

  test("also by what came along with another answer", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const held = await site.hold(urlOf(id));
    const fetching = mizan.fetch("user", { user_id: id });
    await held.arrived();
    await mizan.call("rename", { user_id: id, name: "Eve" });
    await held.gone();
    assert.equal((await fetching).user_profile.name, "Eve");
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "Eve"]);
    assert.equal((await fetched(shown)).length, 1);
  });
});

describe("what came along with an answer", () => {
  test("is dropped where a later call made it stale, and fetched", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const held = await site.hold("POST /call/rename/");
    const first = mizan.call("rename", { user_id: id, name: "first" });
    await held.arrived();
    await mizan.call("rename", { user_id: id, name: "second" });
    assert.equal(shown.state.data.user_profile.name, "second");
    await held.release();
    assert.equal(await first, "first");
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "second"]);
    assert.deepEqual(await fetched(shown), [urlOf(id)]);
  });

  test("is dropped where another answer has brought something along, which may be newer", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const [first, second] = [await site.hold("POST /call/rename/", "before"), await site.hold("POST /call/count/")];
    const renaming = mizan.call("rename", { user_id: id, name: "Eve" });
    await first.arrived();
    const counting = mizan.call("count", { user_id: id });
    await second.arrived();
    await first.release();
    await renaming;
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "Eve"]);
    await second.release();
    await counting;
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "Eve"]);
    assert.deepEqual(await fetched(shown), [urlOf(id)]);
  });

  test("is dropped where something newer was fetched meanwhile", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const held = await site.hold("POST /call/rename/");
    const calling = mizan.call("rename", { user_id: id, name: "mine" });
    await held.arrived();
    await createClient(site.options).call("rename", { user_id: id, name: "theirs" });
    await mizan.fetch("user", { user_id: id });
    await held.release();
    await calling;
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "theirs"]);
  });

  test("is dropped where a request begun before the call arrived meanwhile: either may be newer", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const [reading, calling] = [await site.hold(urlOf(id)), await site.hold("POST /call/rename/", "before")];
    const fetching = mizan.fetch("user", { user_id: id });
    await reading.arrived();
    const renaming = mizan.call("rename", { user_id: id, name: "Eve" });
    await calling.arrived();
    await reading.release();
    await fetching;
    await calling.release();
    await renaming;
    await shown.loaded();
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "Eve"]);
    assert.equal((await fetched(shown)).length, 2);
  });

  test("is dropped where a request has begun since, whose page may have heard of something newer", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const [calling, reading] = [await site.hold("POST /call/rename/"), await site.hold(urlOf(id))];
    const renaming = mizan.call("rename", { user_id: id, name: "mine" });
    await calling.arrived();
    await createClient(site.options).call("rename", { user_id: id, name: "theirs" });
    const fetching = mizan.fetch("user", { user_id: id });
    await reading.arrived();
    await calling.release();
    await renaming;
    await reading.gone();
    assert.equal((await fetching).user_profile.name, "theirs");
    assert.deepEqual(namesOf(shown), [undefined, `user ${id}`, "theirs"]);
  });

  test("is not shown to whoever is signed in next", async () => {
    const mizan = createClient({ ...site.options, token: await site.token(5) });
    const shown = show(mizan, "inbox");
    await shown.loaded();
    const [calling, reading] = [await site.hold("POST /call/send/"), await site.hold("GET /ctx/inbox/")];
    const sending = mizan.call("send");
    await calling.arrived();
    mizan.identify(await site.token(7));
    await reading.arrived();
    await calling.release();
    await sending;
    await shown.loaded();
    await reading.gone(); // for the call had made it stale
    assert.deepEqual(shown.data.map((data) => data?.messages[0]), [undefined, "for 5", undefined, "for 7"]);
  });
});

describe("a call whose end is not known", () => {
  for (const [end, error] of Object.entries({
    cut: TypeError,
    spoil: { code: "http_error", status: 502 },
    garble: { code: "internal_error", status: 500 },
  })) {
    test(`has everything that is shown fetched again (${end})`, async () => {
      const id = somebody();
      const [mizan, one, other] = await showing([["user", { user_id: id }], ["orders", { customer_id: id }]]);
      const held = await site.hold("POST /call/rename/");
      const calling = mizan.call("rename", { user_id: id, name: "Eve" });
      await held.arrived();
      await held[end]();
      await assert.rejects(calling, error);
      assert.deepEqual(await fetched(one, other), [`GET /ctx/orders/?customer_id=${id}`, urlOf(id)]);
      assert.equal(one.state.data.user_profile.name, "Eve");
    });
  }

  test("goes on when its caller does not wait any more, and is heard", async () => {
    const id = somebody();
    const [mizan, shown] = await showing([["user", { user_id: id }]]);
    const held = await site.hold("POST /call/rename/");
    const leaving = new AbortController();
    const calling = mizan.call("rename", { user_id: id, name: "Eve" }, { signal: leaving.signal });
    await held.arrived();
    leaving.abort(new Error("left"));
    await assert.rejects(calling, { message: "left" });
    await held.release();
    await shown.until((state) => state.data.user_profile.name === "Eve");
    await assert.rejects(mizan.call("echo", { value: 1 }, { signal: leaving.signal }), { message: "left" });
    assert.deepEqual(await site.log(), ["POST /call/rename/"]);
  });

  test("is not one that could not be sent", async () => {
    const token = () => Promise.reject(new Error("no token"));
    const mizan = createClient({ ...site.options, token });
    await site.log();
    await assert.rejects(mizan.call("echo", { value: 1 }), { message: "no token" });
    await assert.rejects(mizan.call("echo", { value: NaN }), TypeError);
    await assert.rejects(mizan.fetch("user", { user_id: 1 }), { message: "no token" });
    assert.deepEqual(await site.log(), []);
  });
});

describe("arguments", () => {
  for (const value of [null, [1, { a: "é" }], "x", 1.5, true]) {
    test(`arrive as they are: ${JSON.stringify(value)}`, async () => {
      assert.deepEqual(await createClient(site.options).call("echo", { value, left_out: undefined }), value);
    });
  }

  test("that JSON cannot hold are refused, and nothing is sent or shown", async () => {
    const params = { user_id: somebody() };
    const [mizan, shown] = await showing([["user", params]]);
    const optimistic = { context: "user", params, update: () => "changed" };
    for (const value of UNWRITABLE) {
      const atTop = value instanceof Blob ? [] : [{ value }]; // a file is sent as one
      for (const args of [...atTop, { value: [{ deep: value }] }, { value: { toJSON: () => value } }]) {
        await assert.rejects(mizan.call("echo", args, { optimistic }), TypeError);
      }
      await assert.rejects(mizan.fetch("orders", { customer_id: 1, tags: value }), TypeError);
      assert.throws(() => mizan.invalidate("user", { context: "user", params: { user_id: value } }), TypeError);
    }
    assert.deepEqual([await site.log(), shown.states.length], [[], 2]);
  });

  test("that are refused are named, with what they are", async () => {
    const mizan = createClient(site.options);
    for (const [args, message] of [
      [{ to: [{ photo: new Blob([]) }] }, /^args\.to\[0\]\.photo is of the class Blob, .* plain objects/],
      [new FormData(), /^args is of the class FormData, /],
      [{ at: NaN }, /^args\.at is NaN, /],
      [{ then: [() => 1] }, /^args\.then\[0\] is a function, /],
      [{ ids: [undefined] }, /^args\.ids\[0\] is undefined, /],
    ]) {
      await assert.rejects(mizan.call("echo", args), { name: "TypeError", message });
    }
    await assert.rejects(mizan.fetch("orders", { tags: new Set() }), { message: /^params\.tags is of the class Set, / });
  });
});
