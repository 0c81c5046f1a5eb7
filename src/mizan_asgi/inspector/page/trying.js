// A form for every function and context, made from JSON schemas. What it sends goes the way of any client.

import { duration, find, make } from "./dom.js";

const LONGEST_ANSWER = 20_000;

export class Trying {
  constructor({ calls, bundles, definitions }) {
    this._definitions = definitions;
    this._choices = new Map();
    const groups = [
      ["Mutations and other functions", calls.filter((one) => one.changes).map((one) => ({ ...one, kind: "call", fields: one.arguments }))],
      ["Contexts", bundles.map((one) => ({ ...one, kind: "ctx", fields: one.parameters }))],
      ["Readers", calls.filter((one) => !one.changes).map((one) => ({ ...one, kind: "call", fields: one.arguments }))],
    ];
    this._what = find("try-what");
    for (const [label, choices] of groups) {
      if (!choices.length) continue;
      for (const one of choices) this._choices.set(`${one.kind} ${one.name}`, one);
      this._what.append(make("optgroup", { label }, choices.map((one) => make("option", { value: `${one.kind} ${one.name}` }, one.name))));
    }
    this._what.addEventListener("change", () => this._show());
    find("try-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this._send();
    });
    find("try").hidden = this._choices.size === 0;
    this._show();
  }

  _show() {
    this._chosen = this._choices.get(this._what.value);
    if (!this._chosen) return;
    const { kind, fields, guarded } = this._chosen;
    const doc = [this._chosen.doc, guarded && "Behind a guard."].filter(Boolean).join("\n");
    find("try-doc").textContent = doc;
    find("try-send").textContent = kind === "call" ? "Call" : "Fetch";
    this._fields = fields.map((field) => this._field(field));
    find("try-arguments").replaceChildren(...this._fields.map((one) => one.element));
  }

  _field(field) {
    const schema = this._plain(field.schema);
    const id = `argument-${field.name}`;
    const { input, read } = control(schema, id, field);
    const hint = [typeName(schema), field.required ? "required" : `default ${JSON.stringify(field.default)}`].join(", ");
    const label = make("label", { for: id }, field.name, " ", make("small", {}, hint));
    return { name: field.name, element: make("div", { class: "field" }, label, input), read, required: field.required };
  }

  /** A schema without references, and without the null of an optional value. */
  _plain(schema) {
    if (typeof schema !== "object") return {};
    if (schema.$ref !== undefined) return this._plain(this._definitions[schema.$ref]);
    const options = schema.anyOf?.filter((one) => one.type !== "null");
    if (options?.length === 1) return { ...this._plain(options[0]), nullable: true };
    return schema.allOf?.length === 1 ? this._plain(schema.allOf[0]) : schema;
  }

  async _send() {
    const { kind, name } = this._chosen;
    const sent = this._fields.map((one) => [one.name, one.read()]).filter(([, value]) => value !== undefined);
    const button = find("try-send");
    button.disabled = true;
    const began = performance.now();
    try {
      const response = await this._ask(kind, name, sent);
      const body = await response.text();
      this._answer(response, body, (performance.now() - began) / 1000);
    } catch (error) {
      find("try-answer").replaceChildren(make("p", {}, `No answer: ${error.message}`));
    } finally {
      button.disabled = false;
      find("try-answer").hidden = false;
    }
  }

  _ask(kind, name, sent) {
    const token = find("try-token").value.trim();
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    if (kind === "ctx") {
      const texts = sent.map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]);
      const query = new URLSearchParams(texts).toString();
      return fetch(`../ctx/${encodeURIComponent(name)}/${query && `?${query}`}`, { headers, cache: "no-store" });
    }
    const url = `../call/${encodeURIComponent(name)}/`;
    if (sent.some(([, value]) => value instanceof File)) {
      const form = new FormData();
      for (const [key, value] of sent) form.append(key, typeof value === "object" && !(value instanceof File) ? JSON.stringify(value) : value);
      return fetch(url, { method: "POST", headers, body: form });
    }
    headers["Content-Type"] = "application/json";
    return fetch(url, { method: "POST", headers, body: JSON.stringify(Object.fromEntries(sent)) });
  }

  _answer(response, body, seconds) {
    const told = ["X-Mizan-Invalidate", "Cache-Status", "Cache-Control"].map((name) => [name, response.headers.get(name)]);
    const shown = told.filter(([, value]) => value).map(([name, value]) => make("p", { class: "hint" }, `${name}: `, make("code", {}, value)));
    const status = make("p", {}, make("span", { class: `tag ${response.ok ? "hit" : "failed"}` }, String(response.status)), ` in ${duration(seconds)}`);
    find("try-answer").replaceChildren(status, ...shown, make("pre", { tabindex: 0 }, pretty(body)));
  }
}

/** The input of a value, and a function that reads it: undefined where it is left out. */
function control(schema, id, field) {
  const common = { id, "aria-required": String(field.required), autocomplete: "off", spellcheck: "false" };
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices) {
    const texts = choices.map((choice) => JSON.stringify(choice));
    const none = field.required && !schema.nullable ? [] : [make("option", { value: "" }, "not given")];
    const input = make("select", common, none, texts.map((text, place) => make("option", { value: text }, String(choices[place]))));
    return { input, read: () => (input.value === "" ? undefined : JSON.parse(input.value)) };
  }
  if (schema.format === "binary") {
    const input = make("input", { ...common, type: "file" });
    return { input, read: () => input.files[0] };
  }
  const isNumber = schema.type === "integer" || schema.type === "number";
  if (isNumber || schema.type === "string") {
    const input = make("input", { ...common, type: "text", inputmode: isNumber ? "decimal" : null, placeholder: schema.format ?? null });
    return { input, read: () => (input.value === "" && (isNumber || !field.required || schema.nullable) ? undefined : isNumber ? numeric(input.value) : input.value) };
  }
  const input = make("textarea", { ...common, placeholder: "JSON", rows: 3 });
  return { input, read: () => (input.value.trim() === "" ? undefined : parsed(input.value)) };
}

const EXACT = /^-?(0|[1-9]\d{0,14})(\.\d{1,15})?$/;

/** Digits that a number of JavaScript would round go as text, which the server reads. */
const numeric = (text) => (EXACT.test(text.trim()) ? Number(text) : text.trim());

/** JSON, or the text as it is: the server says what is wrong with it. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function pretty(body) {
  let text = body;
  try {
    text = JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    // it is no JSON, and shown as it is
  }
  return text.length > LONGEST_ANSWER ? `${text.slice(0, LONGEST_ANSWER)}\n… ${text.length} characters` : text || "(no body)";
}

function typeName(schema) {
  if (schema.enum) return "choice";
  const name = schema.format ?? schema.title ?? schema.type ?? "any";
  const nullable = schema.nullable ? " or null" : "";
  return (schema.type === "array" ? "list" : schema.type === "object" ? "object" : name.toLowerCase()) + nullable;
}
