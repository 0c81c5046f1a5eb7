// The hooks of `awkward` on a server: what `react-dom/server` renders of them.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { createElement as element, StrictMode, Suspense } from "react";
import { renderToReadableStream, renderToString } from "react-dom/server";

import { createMizan, MizanError } from "./mizan.js";
import { MizanProvider, useInbox, useInboxSuspense, useOddContext1, useSaveAccount } from "./mizan.react.js";
import { useInboxParams, useInboxParamsSuspense } from "./mizan.react.js";

const NOWHERE = "http://127.0.0.1:9/awk";
const KNOWN = [{ context: "inbox", data: { inbox: [1, "letter"] } }];

function Inbox() {
  const { data, error, loading } = useInbox();
  return element("p", null, JSON.stringify({ inbox: data?.inbox, error, loading }));
}

function Suspended() {
  return element("p", null, useInboxSuspense().data.inbox[1]);
}

function provided(mizan, ...children) {
  return element(StrictMode, null, element(MizanProvider, { mizan }, ...children));
}

async function streamed(page, options) {
  const stream = await renderToReadableStream(page, options);
  await stream.allReady;
  return new Response(stream).text();
}

/** A server that gives every question the same answer, and counts them. */
async function answering(t, status, body) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  t.after(() => server.close());
  const mizan = createMizan({ baseUrl: `http://127.0.0.1:${server.address().port}/awk`, channel: false });
  t.after(() => mizan.client.close());
  return { mizan, asked };
}

test("a page that is rendered on a server shows that it is loading, and asks for nothing", async (t) => {
  const { mizan, asked } = await answering(t, 200, {});
  assert.equal(renderToString(provided(mizan, element(Inbox))), "<p>{&quot;loading&quot;:true}</p>");
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(asked, []);
});

test("what is known already is shown", () => {
  const mizan = createMizan({ baseUrl: NOWHERE, initial: KNOWN });
  const html = renderToString(provided(mizan, element(Inbox), element(Suspended)));
  assert.equal(html, "<p>{&quot;inbox&quot;:[1,&quot;letter&quot;],&quot;loading&quot;:false}</p><p>letter</p>");
  mizan.client.close();
});

test("two providers on one page show what each knows", () => {
  const first = createMizan({ baseUrl: NOWHERE, initial: KNOWN });
  const second = createMizan({ baseUrl: NOWHERE, initial: [{ context: "inbox", data: { inbox: [2, "other"] } }] });
  const html = renderToString([
    element(MizanProvider, { mizan: first, key: 1 }, element(Suspended)),
    element(MizanProvider, { mizan: second, key: 2 }, element(Suspended)),
  ]);
  assert.equal(html, "<p>letter</p><p>other</p>");
  first.client.close();
  second.client.close();
});

test("what suspends is waited for, and fetched once", async (t) => {
  const { mizan, asked } = await answering(t, 200, { inbox: [3, "fetched"] });
  const page = element(Suspense, { fallback: "..." }, element(Suspended), element(Suspended));
  const html = await streamed(provided(mizan, page));
  assert.equal(html.match(/<p>fetched<\/p>/g)?.length, 2);
  assert.deepEqual(asked, ["/awk/ctx/inbox/"]);
});

test("what cannot be fetched is thrown to whoever catches it", async (t) => {
  const problem = { type: "about:blank", title: "Forbidden", status: 403, code: "forbidden", detail: "Not you." };
  const { mizan } = await answering(t, 403, problem);
  const errors = [];
  const page = element(Suspense, { fallback: "not for you" }, element(Suspended));
  const html = await streamed(provided(mizan, page), { onError: (error) => void errors.push(error) });
  assert.match(html, /not for you/);
  assert.equal(errors.length, 1);
  assert.ok(errors[0] instanceof MizanError);
  assert.equal(errors[0].code, "forbidden");
});

test("nothing is shown where the parameters are not known yet", () => {
  const mizan = createMizan({ baseUrl: NOWHERE });
  const Odd = () => JSON.stringify(useOddContext1(null));
  assert.equal(renderToString(provided(mizan, element(Odd))), "{&quot;loading&quot;:false}");
  mizan.client.close();
});

test("parameters are told apart as the client does, which refuses what JSON cannot hold", async (t) => {
  const { mizan, asked } = await answering(t, 200, { inbox_params: 1 });
  const Params = ({ x }) => JSON.stringify(useInboxParamsSuspense({ x }).data);
  const page = (x) => streamed(provided(mizan, element(Suspense, null, element(Params, { x }))), { onError() {} });
  await page(2n ** 60n);
  assert.deepEqual(asked, [`/awk/ctx/inbox_params/?x=${2n ** 60n}`]);
  for (const x of [NaN, new Set(), new Map(), new Blob([])]) {
    const Shown = () => useInboxParams({ x }).loading;
    assert.throws(() => renderToString(provided(mizan, element(Shown))), { name: "TypeError", message: /^params\.x is / });
  }
  assert.equal(asked.length, 1);
});

test("a mutation is there and not called", () => {
  const mizan = createMizan({ baseUrl: NOWHERE });
  const Save = () => JSON.stringify(useSaveAccount());
  assert.equal(renderToString(provided(mizan, element(Save))), "{&quot;pending&quot;:false}");
  mizan.client.close();
});

test("without a provider it is said what is missing", () => {
  assert.throws(() => renderToString(element(Inbox)), /There is no <MizanProvider mizan=\{createMizan\(\)\}>/);
});
