// What users write against `client.d.ts`: compiled, never run. A line that has to be wrong says so.

import { type Client, type ClientOptions, type ParamsOf, type State } from "../../src/mizan_asgi/static/client.js";
import { MizanError, canonical, createClient } from "../../src/mizan_asgi/static/client.js";

interface Profile {
  name: string;
}

type Contexts = {
  user: { params: { user_id: number; page?: number }; data: { user_profile: Profile; user_letters: string[] } };
  inbox: { params: Record<string, never>; data: { messages: string[] } };
};

type Functions = {
  rename: { args: { user_id: number; name: string }; result: null };
  ping: { args: {}; result: "pong" };
};

const mizan: Client<Contexts, Functions> = createClient<Contexts, Functions>({
  baseUrl: "/api/mizan",
  token: async () => null,
  defaults: { user: { page: 1 } },
  keep: 1_000,
  refetchOnFocus: true,
  channel: false,
  initial: [{ context: "user", params: { user_id: 5 }, data: {} }],
});

export async function typed(): Promise<void> {
  const user = await mizan.fetch("user", { user_id: 5 });
  const name: string = user.user_profile.name;
  const messages: string[] = (await mizan.load("inbox")).messages;
  const pong: "pong" = await mizan.call("ping");
  const nothing: null = await mizan.call("rename", { user_id: 5, name }, {
    optimistic: {
      context: "user",
      params: { user_id: 5 },
      update: (data) => ({ ...data, user_profile: { name: messages[0] ?? pong } }),
    },
    signal: new AbortController().signal,
  });
  const end: () => void = mizan.subscribe("user", { user_id: 5 }, (state) => state.data?.user_letters.join());
  const state: State<Contexts["inbox"]["data"]> = mizan.state("inbox");
  mizan.invalidate("user", { context: "user", params: { user_id: 5 }, function: "user_profile" });
  mizan.identify("token");
  mizan.identify();
  mizan.close();
  canonical({ state, nothing }).trim();
  end();
}

interface InterfaceOfContexts {
  user: Contexts["user"];
}

interface InterfaceOfFunctions {
  rename: Functions["rename"];
}

/** Linters prefer interfaces, and an option that is undefined is one that is left out. */
export async function strict(options: { channel?: string }, signal?: AbortSignal): Promise<void> {
  const given: ClientOptions = { channel: options.channel, token: undefined, initial: undefined };
  const typed = createClient<InterfaceOfContexts, InterfaceOfFunctions>(given);
  const user = await typed.fetch("user", { user_id: 5 }, { signal });
  await typed.call("rename", { user_id: 5, name: user.user_profile.name }, { signal, optimistic: undefined });
  typed.invalidate({ context: "user", params: undefined });
  // @ts-expect-error: there is no such context
  typed.state("inbox");
}

export const required: ParamsOf<{ user_id: number; page?: number }> = [{ user_id: 5 }];
export const optional: ParamsOf<{ page?: number }> = [];
export const none: ParamsOf<Record<string, never>> = [];
// @ts-expect-error: one is required
export const missing: ParamsOf<{ user_id: number }> = [];

export async function untyped(): Promise<void> {
  const anything = createClient();
  await anything.fetch("whatever", { a: 1 });
  await anything.call("whatever");
}

export function failed(error: unknown): string | undefined {
  if (error instanceof MizanError && error.code === "invalid_input") {
    return error.errors.map((one) => `${one.loc.join(".")}: ${one.msg}`).join();
  }
  return undefined;
}

export async function refused(state: State<Profile>): Promise<void> {
  // @ts-expect-error: there is no such context
  await mizan.fetch("users", { user_id: 5 });
  // @ts-expect-error: the parameter is a number
  await mizan.fetch("user", { user_id: "5" });
  // @ts-expect-error: there is no such parameter
  await mizan.fetch("inbox", { user_id: 5 });
  // @ts-expect-error: an argument is missing
  await mizan.call("rename", { user_id: 5 });
  // @ts-expect-error: the data of another context
  await mizan.call("ping", {}, { optimistic: { context: "inbox", update: (data) => data.user_profile } });
  // @ts-expect-error: what is shown is not to be changed in place
  state.data = undefined;
  // @ts-expect-error: nothing may have come yet
  state.data.name;
}
