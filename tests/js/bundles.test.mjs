// Bundles: how they are asked for, who shows them, how long they are kept, and what failing looks like.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { MizanError, createClient } from "../../src/mizan_asgi/static/client.js";
import { namesOf, run, serve, show, somebody, turn } from "./harness.mjs";

const site = await serve();

const UNKNOWN = { data: undefined, error: undefined, loading: false };

/** A client, and the log of what it asks. */
async function connect(options = {}) {
  await site.log();
  return createClient({ ...site.options, ...options });
}

describe("asking", () => {
  test("is by the canonical URL", async () => {
    const mizan = await connect();
    const id = somebody();
    for (const params of [{ user_id: id }, { user_id: id, page: 1 }, { page: null, user_id: BigInt(id) }]) {
      await mizan.fetch("user", params);
    }
    await mizan.fetch("user", { user_id: id, page: 2 });
    await mizan.fetch("orders", { tags: ["a/b", "!'()* ~é"], customer_id: id });
    await mizan.fetch("orders", { tags: [], customer_id: id, nothing: undefined });
    assert.deepEqual(await site.log(), [
      ...Array(3).fill(`GET /ctx/user/?user_id=${id}`),
      `GET /ctx/user/?page=2&user_id=${id}`,
      `GET /ctx/orders/?customer_id=${id}&tags=a%2Fb&tags=%21%27%28%29%2A%20~%C3%A9`,
      `GET /ctx/orders/?customer_id=${id}`,
    ]);
  });

  test("twice at once is asking once", async () => {
    const mizan = await connect();
    const id = somebody();
    const shown = show(mizan, "user", { user_id: id });
    const all = [mizan.fetch("user", { user_id: id }), mizan.load("user", { user_id: id })];
    await Promise.resolve();
    all.push(mizan.fetch("user", { page: 1, user_id: id }));
    const [one, two, three] = await Promise.all(all);
    assert.equal(one.user_profile.name, `user ${id}`);
    assert.equal(two, one);
    assert.equal(three, one);
    assert.equal(shown.state.data, one);
    assert.deepEqual(await site.log(), [`GET /ctx/user/?user_id=${id}`]);
  });

  test("for what is known asks again, and gives the same object where it is the same", async () => {
    const mizan = await connect();
    const shown = show(mizan, "user", { user_id: somebody() });
    const { data } = await shown.loaded();
    assert.equal(await mizan.fetch("user", { user_id: data.user_profile.user_id }), data);
    assert.equal(shown.state.data, data);
    assert.equal((await site.log()).length, 2);
  });

  test("sends the token: a text, or what a function says each time", async () => {
    let asked = 0;
    const token = await site.token(5);
    const texts = await connect({ token });
    assert.deepEqual(await texts.fetch("inbox"), { messages: ["for 5"] });
    const functions = await connect({ token: async () => ((asked += 1), token) });
    await functions.fetch("inbox");
    assert.equal(await functions.call("echo", { value: 1 }), 1);
    assert.equal(asked, 2);
  });
});

describe("files", () => {
  test("are sent beside the other arguments, and what the call made stale is shown anew", async () => {
    const mizan = await connect();
    const id = somebody();
    const shown = show(mizan, "user", { user_id: id });
    await shown.loaded();
    const picture = new File(["1"], "a.png", { type: "image/png" });
    const args = { user_id: id, picture, more: [new Blob(["2"])], note: { deep: [1.5, "x"] } };
    assert.deepEqual(await mizan.call("upload", args), [
      ["a.png", "image/png", "1"],
      ["blob", "application/octet-stream", "2"],
      { deep: [1.5, "x"] },
    ]);
    assert.equal(namesOf(shown).at(-1), "a.png");
  });

  test("that the server takes none of are refused", async () => {
    const mizan = await connect();
    await assert.rejects(mizan.call("echo", { value: new Blob(["1"]) }), { code: "unsupported_media_type" });
    await assert.rejects(mizan.call("upload", { user_id: 5 }), { code: "invalid_input" });
    await assert.rejects(mizan.call("echo", { value: { deep: new Blob(["1"]) } }), TypeError);
  });
});

describe("a token function", () => {
  test("is asked once by all requests that wait for it", async () => {
    let asked = 0;
    const token = site.token(5);
    const mizan = await connect({ token: () => ((asked += 1), token) });
    const calls = Array.from({ length: 20 }, (_, value) => mizan.call("echo", { value }));
    const bundles = Array.from({ length: 20 }, (_, id) => mizan.fetch("user", { user_id: id }));
    await Promise.all([...calls, ...bundles, mizan.fetch("inbox")]);
    assert.equal(asked, 1);
    await mizan.call("echo", { value: 1 });
    assert.equal(asked, 2);
  });

  test("may call mwt_obtain, which is sent without a token", async () => {
    const obtain = async () => (await mizan.call("mwt_obtain")).token;
    const mizan = await connect({ token: obtain });
    await assert.rejects(mizan.fetch("inbox"), { code: "unauthorized" }); // nobody is signed in
    assert.deepEqual(await site.log(), ["POST /call/mwt_obtain/"]);
    mizan.identify(await site.token(5));
    await assert.rejects(mizan.call("mwt_obtain"), { code: "unauthorized" }); // the session is asked, not the token
  });

  test("that fails is asked again by the next request", async () => {
    let asked = 0;
    const token = async () => {
      if ((asked += 1) === 1) throw new Error("no network");
      return site.token(5);
    };
    const mizan = await connect({ token });
    const first = await Promise.allSettled([mizan.fetch("inbox"), mizan.call("echo", { value: 1 })]);
    assert.deepEqual(first.map((one) => one.reason?.message), Array(2).fill("no network"));
    assert.deepEqual(await mizan.fetch("inbox"), { messages: ["for 5"] });
  });

  test("is told at once that it waits for itself", async () => {
    let mizan;
    for (const ask of [() => mizan.call("echo", { value: 1 }), () => mizan.fetch("inbox"), () => mizan.load("inbox")]) {
      mizan = await connect({ token: async () => ask() });
      await assert.rejects(mizan.call("echo", { value: 1 }), { name: "TypeError", message: /"mwt_obtain"/ });
    }
    assert.deepEqual(await site.log(), []);
  });
});

describe("showing", () => {
  test("tells at once, and asks once for all who show a context", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    const one = show(mizan, "user", params);
    assert.deepEqual(one.states, [{ ...UNKNOWN, loading: true }]);
    await one.loaded();
    const other = show(mizan, "user", { page: 1, ...params });
    assert.equal(other.states.length, 1);
    assert.equal(other.state, one.state);
    assert.deepEqual(await site.log(), [`GET /ctx/user/?user_id=${params.user_id}`]);
  });

  test("the state is one object until something changes", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    assert.deepEqual(mizan.state("user", params), UNKNOWN);
    assert.equal(mizan.state("user", params), mizan.state("inbox"));
    const shown = show(mizan, "user", params);
    assert.equal(mizan.state("user", params), shown.state);
    await shown.loaded();
    assert.equal(mizan.state("user", params), shown.state);
    assert.ok(Object.isFrozen(shown.state));
    assert.equal(shown.states.length, 2);
  });

  test("the same listener twice is two, and each ends on its own", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    let told = 0;
    const listener = () => (told += 1);
    const ends = [mizan.subscribe("user", params, listener), mizan.subscribe("user", params, listener)];
    assert.equal(told, 2);
    ends[0]();
    ends[0]();
    await mizan.fetch("user", params);
    assert.equal(told, 3);
    ends[1]();
  });

  test("ends at once: whoever has ended it is told nothing more", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    let end;
    mizan.subscribe("user", params, ({ data }) => data && end());
    const shown = show(mizan, "user", params);
    end = shown.end;
    await mizan.fetch("user", params);
    assert.deepEqual(shown.states, [{ ...UNKNOWN, loading: true }]);
  });

  test("is ended by its own end, and no other", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const mizan = await connect({ keep: 1 });
    const params = { user_id: somebody() };
    const old = show(mizan, "user", params);
    await old.loaded();
    old.end();
    await turn();
    t.mock.timers.tick(1);
    const shown = show(mizan, "user", params);
    await shown.loaded();
    old.end();
    await turn();
    t.mock.timers.tick(1);
    assert.equal(mizan.state("user", params), shown.state);
  });

  test("beginning, ending and beginning again in one turn asks once", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    show(mizan, "user", params).end();
    const shown = show(mizan, "user", params);
    assert.equal((await shown.loaded()).error, undefined);
    assert.equal((await site.log()).length, 1);
  });

  test("what a page throws is its own affair, and keeps nobody else from being told", async () => {
    const output = await run(
      `import { createClient } from "./src/mizan_asgi/static/client.js";
       process.on("uncaughtException", (error) => console.log("caught", error.message));
       const mizan = createClient({ baseUrl: process.argv[1] });
       mizan.subscribe("user", { user_id: 1 }, () => { throw new Error("listener"); });
       mizan.subscribe("user", { user_id: 1 }, ({ data }) => console.log("told", data?.user_profile.name));
       await mizan.load("user", { user_id: 1 });
       const update = () => { throw new Error("update"); };
       const optimistic = { context: "user", params: { user_id: 1 }, update };
       console.log("answered", await mizan.call("echo", { value: 1 }, { optimistic }));
       await mizan.load("user", { user_id: 1 });
       mizan.close();`,
      site.baseUrl,
    );
    const lines = output.trim().split("\n");
    assert.ok(lines.includes("caught listener"), output);
    assert.ok(lines.includes("caught update"), output);
    assert.ok(lines.includes("answered 1"), output);
    assert.equal(lines.filter((line) => line.startsWith("told")).at(-1), "told user 1");
  });

  test("does not keep a process of Node's from ending", async () => {
    const output = await run(
      `import { createClient } from "./src/mizan_asgi/static/client.js";
       const mizan = createClient({ baseUrl: process.argv[1] });
       const end = mizan.subscribe("user", { user_id: 1 }, ({ data }) => data && (end(), console.log("shown")));`,
      site.baseUrl,
    );
    assert.equal(output, "shown\n");
  });
});

describe("when nobody shows it any more", () => {
  test("a request is aborted, which the server sees", async () => {
    const mizan = await connect();
    const id = somebody();
    const held = await site.hold(`GET /ctx/user/?user_id=${id}`);
    const [one, other] = [show(mizan, "user", { user_id: id }), show(mizan, "user", { user_id: id })];
    await held.arrived();
    one.end();
    other.end();
    await held.gone();
    assert.deepEqual(mizan.state("user", { user_id: id }), UNKNOWN);
  });

  test("not as long as one is left", async () => {
    const mizan = await connect();
    const id = somebody();
    const held = await site.hold(`GET /ctx/user/?user_id=${id}`);
    const shown = show(mizan, "user", { user_id: id });
    const leaving = new AbortController();
    const fetching = mizan.fetch("user", { user_id: id }, { signal: leaving.signal });
    await held.arrived();
    leaving.abort(new Error("left"));
    await assert.rejects(fetching, { message: "left" });
    await held.release();
    assert.equal((await shown.loaded()).data.user_profile.name, `user ${id}`);
  });

  test("or waits for it", async () => {
    const mizan = await connect();
    const id = somebody();
    const held = await site.hold(`GET /ctx/user/?user_id=${id}`);
    const leaving = new AbortController();
    const fetching = mizan.fetch("user", { user_id: id }, { signal: leaving.signal });
    await held.arrived();
    leaving.abort();
    await assert.rejects(fetching, { name: "AbortError" });
    await held.gone();
    await assert.rejects(mizan.fetch("user", { user_id: id }, { signal: leaving.signal }), { name: "AbortError" });
    assert.equal((await site.log()).length, 1);
  });

  test("it is kept for a while", async (t) => {
    const mizan = await connect({ keep: 1_000 });
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const params = { user_id: somebody() };
    const first = show(mizan, "user", params);
    const { data } = await first.loaded();
    first.end();
    await turn();
    t.mock.timers.tick(999);
    const second = show(mizan, "user", params);
    assert.equal(second.state.data, data);
    await turn();
    t.mock.timers.tick(1_000);
    second.end();
    await turn();
    t.mock.timers.tick(999);
    assert.equal(mizan.state("user", params).data, data);
    t.mock.timers.tick(1);
    assert.deepEqual(mizan.state("user", params), UNKNOWN);
    assert.equal((await site.log()).length, 1);
  });

  test("for ever, where that is wanted", async (t) => {
    const mizan = await connect({ keep: Infinity });
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const params = { user_id: somebody() };
    await mizan.fetch("user", params);
    await turn();
    t.mock.timers.tick(2 ** 31 - 1);
    assert.equal(mizan.state("user", params).data.user_profile.user_id, params.user_id);
  });

  test("and is not shown again when it went out of date meanwhile, be it in the same turn", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    const first = show(mizan, "user", params);
    await first.loaded();
    first.end();
    mizan.invalidate("user");
    assert.deepEqual(mizan.state("user", params), UNKNOWN);
    const second = show(mizan, "user", params);
    assert.equal(second.state.data, undefined);
    await second.loaded();
    assert.equal((await site.log()).length, 2);
  });
});

describe("loading", () => {
  test("gives one promise while it lasts, and the data once it is known", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    const loading = mizan.load("user", params);
    assert.equal(mizan.load("user", params), loading);
    mizan.invalidate("user");
    assert.equal(mizan.load("user", params), loading);
    const data = await loading;
    assert.equal(mizan.load("user", params), loading);
    assert.equal(mizan.state("user", params).data, data);
    assert.equal((await site.log()).length, 1);
  });

  test("asks for what is out of date", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    show(mizan, "user", params);
    const loading = mizan.load("user", params);
    await loading;
    await mizan.call("rename", { ...params, name: "Eve" });
    assert.notEqual(mizan.load("user", params), loading);
    assert.equal((await mizan.load("user", params)).user_profile.name, "Eve");
  });

  test("remembers a failure, so that whoever renders again does not ask for ever", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    await mizan.call("rename", { ...params, name: "bad" });
    const failing = mizan.load("shaky", params);
    await assert.rejects(failing, { code: "conflict" });
    assert.equal(mizan.load("shaky", params), failing);
    await turn();
    assert.equal(mizan.load("shaky", params), failing);
    assert.equal((await site.log()).length, 2);
    await mizan.call("rename", { ...params, name: "good" });
    assert.deepEqual(await mizan.load("shaky", params), { shaky: "good" });
  });
});

describe("what is known already", () => {
  test("is shown without asking, and is kept no longer than the rest", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const data = { user_profile: { name: "Ada" } };
    const params = { user_id: somebody() };
    const initial = [{ context: "user", params, data }, { context: "inbox", data: { messages: [] } }];
    const mizan = await connect({ initial, keep: 10 });
    assert.equal(await mizan.load("user", params), data);
    assert.equal(show(mizan, "user", params).state.data, data);
    await turn();
    t.mock.timers.tick(10);
    assert.equal(mizan.state("user", params).data, data);
    assert.deepEqual(mizan.state("inbox"), UNKNOWN);
    assert.deepEqual(await site.log(), []);
  });
});

describe("failing", () => {
  test("is a MizanError as the server put it", async () => {
    const mizan = await connect();
    await assert.rejects(mizan.fetch("user", { user_id: "x" }), (error) => {
      assert.ok(error instanceof MizanError && error instanceof Error);
      assert.deepEqual([error.name, error.status, error.code], ["MizanError", 422, "invalid_input"]);
      assert.match(error.title, /^Unprocessable/);
      assert.deepEqual(error.errors[0].loc, ["params", "user_id"]);
      return true;
    });
    await assert.rejects(mizan.fetch("nothing"), { status: 404, code: "not_found" });
    await assert.rejects(mizan.fetch("inbox"), { status: 401, code: "unauthorized", errors: [] });
    await assert.rejects(mizan.call("refuse", { user_id: 1 }), { status: 409, message: "Somebody else was first." });
  });

  test("is an http_error where somebody else answered", async () => {
    const mizan = createClient({ ...site.options, baseUrl: `${site.url}/elsewhere` });
    for (const ask of [() => mizan.fetch("user", { user_id: 1 }), () => mizan.call("echo", { value: 1 })]) {
      await assert.rejects(ask, { name: "MizanError", status: 404, code: "http_error", message: "HTTP 404" });
    }
    const log = createClient({ ...site.options, baseUrl: `${site.url}/control/log?` });
    for (const ask of [() => log.fetch("user"), () => log.call("echo")]) {
      await assert.rejects(ask, (error) => error instanceof MizanError && error.code === "http_error");
    }
  });

  test("is the browser's error where nobody answered", async () => {
    const mizan = createClient({ baseUrl: "http://127.0.0.1:1/api/mizan", channel: false });
    const shown = show(mizan, "user", { user_id: 1 });
    await assert.rejects(mizan.call("echo", { value: 1 }), TypeError);
    assert.ok((await shown.until((state) => state.error)).error instanceof TypeError);
  });

  test("leaves what was known beside the error, and whoever shows it next asks again", async () => {
    const mizan = await connect();
    const params = { user_id: somebody() };
    const shown = show(mizan, "shaky", params);
    const { data } = await shown.loaded();
    await mizan.call("rename", { ...params, name: "bad" });
    const failed = await shown.loaded();
    assert.equal(failed.data, data);
    assert.equal(failed.error.code, "conflict");
    const other = show(mizan, "shaky", params);
    assert.equal(other.state, failed);
    shown.end();
    other.end();
    await mizan.call("rename", { ...params, name: "good" });
    const again = show(mizan, "shaky", params);
    assert.deepEqual((await again.loaded()).data, { shaky: "good" });
  });

  test("is asked again by whoever shows it next", async () => {
    const mizan = await connect();
    const shown = show(mizan, "inbox");
    await shown.until((state) => state.error);
    shown.end();
    await turn();
    const again = show(mizan, "inbox");
    assert.ok(again.state.loading);
    await again.loaded();
    assert.equal((await site.log()).length, 2);
  });
});

describe("what invalidate touches", () => {
  test("is forgotten at once where it failed, so that an error boundary may try again", async () => {
    const [params, mizan] = [{ user_id: somebody() }, await connect()];
    await mizan.call("rename", { ...params, name: "bad" });
    await assert.rejects(mizan.load("shaky", params), { code: "conflict" });
    await createClient(site.options).call("rename", { ...params, name: "good" });
    assert.equal(mizan.state("shaky", params).error.code, "conflict");
    mizan.invalidate("shaky");
    assert.deepEqual(mizan.state("shaky", params), UNKNOWN);
    assert.deepEqual(await mizan.load("shaky", params), { shaky: "good" });
  });

  test("has failed no more as soon as it is stale, where it is shown as well, and keeps its data", async () => {
    const [params, mizan] = [{ user_id: somebody() }, await connect()];
    const shown = show(mizan, "shaky", params);
    const { data } = await shown.loaded();
    await createClient(site.options).call("rename", { ...params, name: "bad" });
    await assert.rejects(mizan.fetch("shaky", params), { code: "conflict" });
    assert.equal(shown.state.error.code, "conflict");
    mizan.invalidate({ context: "shaky", params });
    assert.deepEqual(shown.state, { data, error: undefined, loading: true });
  });
});

describe("the window", () => {
  for (const [option, event] of [["refetchOnFocus", "focus"], ["refetchOnReconnect", "online"]]) {
    test(`${option}: what is shown is fetched again, once, and nothing else`, async (t) => {
      const window = new EventTarget();
      globalThis.addEventListener = window.addEventListener.bind(window);
      t.after(() => delete globalThis.addEventListener);
      const [with_, without] = [await connect({ [option]: true }), await connect()];
      const params = { user_id: somebody() };
      const kept = { user_id: somebody() };
      await with_.fetch("user", kept);
      await without.fetch("user", params);
      const shown = show(with_, "user", params);
      const { data } = await shown.loaded();
      await site.log();
      window.dispatchEvent(new Event(event));
      window.dispatchEvent(new Event(event));
      assert.deepEqual(shown.state, { data, error: undefined, loading: true });
      await shown.loaded();
      assert.equal(with_.state("user", kept).data.user_profile.user_id, kept.user_id);
      with_.close();
      window.dispatchEvent(new Event(event));
      await turn();
      assert.deepEqual(await site.log(), [`GET /ctx/user/?user_id=${params.user_id}`]);
    });
  }
});

describe("closing", () => {
  test("ends every request and everybody's waiting, and nothing is asked after it", async () => {
    const mizan = await connect({ channel: "closing" });
    const id = somebody();
    const held = await site.hold(`GET /ctx/user/?user_id=${id}`);
    const shown = show(mizan, "user", { user_id: id });
    const fetching = mizan.fetch("user", { user_id: id });
    await held.arrived();
    await site.log();
    mizan.close();
    await assert.rejects(fetching, { message: "The client was closed." });
    await held.gone();
    assert.deepEqual(namesOf(shown), [undefined]);
    const late = [() => mizan.fetch("user", { user_id: id }), () => mizan.load("inbox"), () => mizan.call("echo")];
    for (const ask of late) {
      await assert.rejects(ask, { message: "The client was closed." });
    }
    mizan.invalidate("user");
    mizan.identify();
    assert.equal((await show(mizan, "user", { user_id: id }).loaded()).error.message, "The client was closed.");
    assert.deepEqual(await site.log(), []);
  });

  test("a call that is under way goes on", async () => {
    const mizan = await connect();
    const held = await site.hold("POST /call/echo/", "before");
    const calling = mizan.call("echo", { value: 7 });
    await held.arrived();
    mizan.close();
    await held.release();
    assert.equal(await calling, 7);
  });
});
