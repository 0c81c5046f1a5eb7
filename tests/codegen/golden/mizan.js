// Written by `python -m tests.codegen.golden`. Changes will be lost.
/* eslint-disable */

import { createClient } from "./client.js";

export { MizanError } from "./client.js";

const defaults = {
  inbox_params: { x: 1 },
  "odd.context-1": { big: "1152921504606846976", color: "red", day: "2026-01-02", ids: [], level: null, ratio: 0.5, required_null: null },
};

function contextOf(client, name) {
  return {
    fetch: (params, options) => client.fetch(name, params, options),
    load: (params) => client.load(name, params),
    state: (params) => client.state(name, params),
    subscribe: (params, listener) => client.subscribe(name, params, listener),
    invalidate: (scope) => client.invalidate({ context: name, params: { ...scope } }),
  };
}

export function createMizan(options = {}) {
  const client = createClient({ baseUrl: "/awk", defaults, ...options });
  return {
    client,
    contexts: {
      class: contextOf(client, "class"),
      inbox: contextOf(client, "inbox"),
      inbox_params: contextOf(client, "inbox_params"),
      "odd.context-1": contextOf(client, "odd.context-1"),
    },
    ["__proto__"]: (args, options) => client.call("__proto__", args, options),
    "a.b-c": (args, options) => client.call("a.b-c", args, options),
    attach: (args, options) => client.call("attach", args, options),
    attach_if_any: (args, options) => client.call("attach_if_any", args, options),
    contexts_: (args, options) => client.call("contexts", args, options),
    delete: (args, options) => client.call("delete", args, options),
    inbox: (args, options) => client.call("inbox", args, options),
    "inbox.shared": (args, options) => client.call("inbox.shared", args, options),
    inbox_: (args, options) => client.call("inbox_", args, options),
    inbox_params: (args, options) => client.call("inbox_params", args, options),
    "inbox_params.shared": (args, options) => client.call("inbox_params.shared", args, options),
    many: (args, options) => client.call("many", args, options),
    mwt_obtain: (args, options) => client.call("mwt_obtain", args, options),
    reserved: (args, options) => client.call("reserved", args, options),
    results: (args, options) => client.call("results", args, options),
    save_account: (args, options) => client.call("save_account", args, options),
    scalars: (args, options) => client.call("scalars", args, options),
    "second-reader.v2": (args, options) => client.call("second-reader.v2", args, options),
    shapes: (args, options) => client.call("shapes", args, options),
    standard: (args, options) => client.call("standard", args, options),
    then_: (args, options) => client.call("then", args, options),
    unions: (args, options) => client.call("unions", args, options),
  };
}
