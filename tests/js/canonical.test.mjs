// One spelling for every value: the shared vectors, read with every digit that they have.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { runInNewContext } from "node:vm";

import { canonical, decodeHeader, touches } from "../../src/mizan_asgi/static/client.js";
import { UNWRITABLE } from "./harness.mjs";

const keys = vectors("keys.json");
const headers = vectors("header.json");

/** JSON.parse loses digits of long integers, which the vectors have on purpose. */
function vectors(name) {
  const text = readFileSync(new URL(`../vectors/${name}`, import.meta.url), "utf8");
  const marked = text.replace(/(?<=[:[,]\s*)-?\d{16,}(?=\s*[,\]}\n])/g, '"bigint:$&"');
  return JSON.parse(marked, (_, value) => (/^bigint:/.test(value) ? BigInt(value.slice(7)) : value));
}

const texts = (params) => {
  const given = Object.entries(params).filter(([, value]) => value !== null);
  return Object.fromEntries(given.map(([name, value]) => [name, canonical(value)]));
};

describe("canonical text", () => {
  for (const { note, secret, context, params, user_id, permission_key, rev, message, key } of keys.entry_keys) {
    test(`of an entry's parameters: ${note}`, () => {
      const given = { c: context, p: texts(params), r: rev };
      if (user_id !== null) given.u = String(user_id);
      if (permission_key !== null) given.k = permission_key;
      assert.equal(canonical(given), message);
      assert.equal(`ctx:${context}:${createHmac("sha256", secret).update(message).digest("hex")}`, key);
    });
  }

  for (const { note, context, params, message } of keys.scope_keys) {
    test(`of a scope: ${note}`, () => assert.equal(canonical({ c: context, s: texts(params) }), message));
  }

  for (const [value, text] of [
    ["text", "text"],
    [true, "true"],
    [null, "null"],
    [undefined, "null"],
    [-0, "0"],
    [1e21, "1e+21"],
    [1e-7, "1e-7"],
    [12345678901234567890123n, "12345678901234567890123"],
    [[1, "a", null, [2n]], '[1,"a",null,[2]]'],
    [{ b: 1, a: undefined, "\u{1f600}": 2, "\uffff": "é\n\ud800" }, '{"b":1,"\u{1f600}":2,"\uffff":"é\\n\\ud800"}'],
    [new Date(Date.UTC(2026, 0, 2)), "2026-01-02T00:00:00Z"],
    [new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 60)), "2026-01-02T03:04:05.060000Z"],
    [{ toJSON: () => "its own" }, "its own"],
    [[{ toJSON: () => 5 }], "[5]"],
  ]) {
    test(`is ${text}`, () => assert.equal(canonical(value), text));
  }

  for (const value of [NaN, Infinity, [-Infinity], new Date(NaN), ...UNWRITABLE]) {
    test(`there is none of ${Object.prototype.toString.call(value)}`, () => assert.throws(() => canonical(value)));
  }

  test("an object of another realm, and one without a prototype, is as good as one of this", () => {
    assert.equal(canonical(runInNewContext("({ a: [{ b: 1 }] })")), '{"a":[{"b":1}]}');
    assert.equal(canonical(Object.assign(Object.create(null), { a: 1 })), '{"a":1}');
  });
});

describe("the header", () => {
  const decoded = (line) => decodeHeader(line).map((one) => ({ function: null, ...one }));

  for (const { note, header, decoded: wanted } of [...headers.round_trip, ...headers.tolerated]) {
    test(`is read: ${note}`, () => assert.deepEqual(decoded(header), wanted));
  }

  for (const { note, header } of headers.refused) {
    test(`is refused: ${note}`, () => assert.throws(() => decodeHeader(header), Error));
  }
});

describe("an invalidation", () => {
  const bundle = new Map(Object.entries({ user_id: "5", page: "1", team_id: null, ids: "[1,2]" }));
  for (const [entry, stale] of [
    ["user", true],
    ["users", false],
    [{ context: "user" }, true],
    [{ context: "user", params: {} }, true],
    [{ context: "user", params: { user_id: 5 } }, true],
    [{ context: "user", params: { user_id: "5" } }, true],
    [{ context: "user", params: { user_id: 5n, page: 1 } }, true],
    [{ context: "user", params: { user_id: 5, page: 2 } }, false],
    [{ context: "user", params: { user_id: 7 } }, false],
    [{ context: "user", params: { user_id: undefined } }, true],
    [{ context: "user", params: { user_id: null } }, false],
    [{ context: "user", params: { team_id: null } }, true],
    [{ context: "user", params: { unknown: null } }, true],
    [{ context: "user", params: { ids: [1, 2] } }, true],
    [{ context: "user", params: { ids: [2, 1] } }, false],
    [{ context: "user", params: { user_id: 5 }, function: "user_profile" }, true],
    [{ context: "user", params: { unknown: 3 } }, true],
    [{ context: "user", params: { team_id: 3 } }, false],
    [{ context: "user", params: { team_id: "null" } }, false],
    [{ context: "user", params: { user_id: 2 ** 53 } }, true], // JSON.parse may have made this of 2 ** 53 + 1
    [{ context: "user", params: { user_id: String(2 ** 53) } }, false],
    [{ context: "user", params: { user_id: 9007199254740992n } }, false],
  ]) {
    const name = typeof entry === "string" ? entry : canonical({ ...entry });
    test(`${name} ${stale ? "touches" : "does not touch"} the bundle`, () => {
      assert.equal(touches(entry, "user", bundle), stale);
    });
  }
});
