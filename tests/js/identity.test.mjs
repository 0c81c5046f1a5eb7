// Bundles with parameters that the identity fills in: a client knows neither their names nor their values.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createClient } from "../../src/mizan_asgi/static/client.js";
import { serve, show, somebody } from "./harness.mjs";

const site = await serve();
let channels = 0;

/** Clients of these users, as in tabs of one browser. */
async function tabsOf(t, ...users) {
  const channel = `tabs of users ${(channels += 1)}`;
  const clients = [];
  for (const user of users) {
    const client = createClient({ ...site.options, defaults: { cart: { page: 1 } }, channel, token: await site.token(user) });
    t.after(() => client.close());
    clients.push(client);
  }
  return clients;
}

/** The cart as a client shows it, loaded, and an empty log of the site. */
async function cartOf(client, params) {
  const shown = show(client, "cart", params);
  await shown.loaded();
  await site.log();
  return shown;
}

const linesOf = (shown) => shown.data.map((data) => data?.cart_lines);

describe("a bundle of one's own", () => {
  test("comes with the answer to a call, whatever its other parameters", async (t) => {
    const [client] = await tabsOf(t, somebody());
    const [all, second] = [await cartOf(client), await cartOf(client, { page: 2 })];
    await client.call("add_line", { sku: "pen" });
    assert.deepEqual(linesOf(all), [undefined, [], ["pen"]]);
    assert.deepEqual(second.state, { data: { cart_lines: [] }, error: undefined, loading: false });
    const [{ target, mounted }, ...more] = await site.requests();
    assert.deepEqual([target, mounted, more], ["POST /call/add_line/", "cart?page=2, cart", []]);
  });

  for (const [name, code] of [["add_and_explode", "internal_error"], ["add_and_refuse", "conflict"]]) {
    test(`is fetched again where ${code} names the caller's values`, async (t) => {
      const [client] = await tabsOf(t, somebody());
      const shown = await cartOf(client);
      await assert.rejects(client.call(name, { sku: "pen" }), { code });
      await shown.loaded();
      assert.deepEqual(linesOf(shown), [undefined, [], ["pen"]]);
      assert.deepEqual(await site.log(), [`POST /call/${name}/`, "GET /ctx/cart/"]);
    });
  }

  test("stays as it is where a call concerns others alone", async (t) => {
    const [id, other] = [somebody(), somebody()];
    const [client] = await tabsOf(t, id);
    const shown = await cartOf(client);
    await client.call("give", { to: [other], sku: "pen" });
    assert.equal(shown.state.loading, false);
    assert.deepEqual(await site.log(), ["POST /call/give/"]);
    await client.call("give", { to: [other, id], sku: "cup" });
    assert.deepEqual(linesOf(shown), [undefined, [], ["cup"]]);
    assert.deepEqual(await site.log(), ["POST /call/give/"]);
  });

  test("is overtaken by a call while it is fetched", async (t) => {
    const [client] = await tabsOf(t, somebody());
    await site.log();
    const held = await site.hold("GET /ctx/cart/");
    const shown = show(client, "cart");
    await held.arrived();
    await client.call("add_line", { sku: "pen" });
    await shown.loaded();
    assert.deepEqual(linesOf(shown), [undefined, ["pen"]]);
  });

  test("is another one after identify", async (t) => {
    const [id, other] = [somebody(), somebody()];
    const [client, theirs] = await tabsOf(t, id, other);
    await theirs.call("add_line", { sku: "theirs" });
    const shown = await cartOf(client);
    client.identify(await site.token(other));
    await shown.until((state) => state.data?.cart_lines.length === 1);
    assert.deepEqual(linesOf(shown), [undefined, [], undefined, ["theirs"]]);
  });
});

describe("another tab of the same user", () => {
  for (const name of ["add_line", "add_and_explode", "add_and_refuse"]) {
    test(`fetches the bundle after ${name}`, async (t) => {
      const id = somebody();
      const [here, there] = await tabsOf(t, id, id);
      const [shown, second] = [await cartOf(there), await cartOf(there, { page: 2 })];
      await here.call(name, { sku: "pen" }).catch(() => {});
      await shown.until((state) => state.data.cart_lines.length === 1);
      await second.loaded();
      assert.deepEqual((await site.log()).sort(), ["GET /ctx/cart/", "GET /ctx/cart/?page=2", `POST /call/${name}/`]);
    });
  }
});

describe("an optimistic change", () => {
  const adding = (sku, params) => ({
    optimistic: { context: "cart", params, update: ({ cart_lines }) => ({ cart_lines: [...cart_lines, `${sku}?`] }) },
  });

  test("gives way to the bundle that the answer brings", async (t) => {
    const [client] = await tabsOf(t, somebody());
    const shown = await cartOf(client);
    await client.call("add_line", { sku: "pen" }, adding("pen"));
    assert.deepEqual(linesOf(shown), [undefined, [], ["pen?"], ["pen"]]);
    assert.deepEqual(await site.log(), ["POST /call/add_line/"]);
  });

  test("stays after a failure until the bundle is fetched", async (t) => {
    const [client] = await tabsOf(t, somebody());
    const shown = await cartOf(client);
    const held = await site.hold("GET /ctx/cart/");
    await assert.rejects(client.call("add_and_explode", { sku: "pen" }, adding("pen")));
    await held.arrived();
    assert.deepEqual(shown.state.data.cart_lines, ["pen?"]);
    await held.release();
    await shown.loaded();
    assert.deepEqual(linesOf(shown), [undefined, [], ["pen?"], ["pen"]]);
  });

  test("goes with a refusal, and the bundle is fetched if it names it", async (t) => {
    const [client] = await tabsOf(t, somebody());
    const shown = await cartOf(client);
    await assert.rejects(client.call("add_and_refuse", { sku: "pen" }, adding("pen")), { code: "conflict" });
    await shown.loaded();
    assert.deepEqual(linesOf(shown), [undefined, [], ["pen?"], [], ["pen"]]);
  });

  test("of a call that concerns others alone is fetched over", async (t) => {
    const [client] = await tabsOf(t, somebody());
    const shown = await cartOf(client);
    await client.call("give", { to: [somebody()], sku: "pen" }, adding("pen"));
    await shown.loaded();
    assert.deepEqual(linesOf(shown), [undefined, [], ["pen?"], []]);
    assert.deepEqual(await site.log(), ["POST /call/give/", "GET /ctx/cart/"]);
  });
});
