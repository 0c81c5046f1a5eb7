// How the client of `awkward` is used. Every line below a `@ts-expect-error` is wrong, and `tsc` has to say so.

import { createMizan, MizanError } from "./mizan.js";
import type { Account, AccountInput, Color, Contexts, Functions, Mizan, SizeInput, State, Tree } from "./mizan.js";

const mizan: Mizan = createMizan({ baseUrl: "https://example.com/awk", token: () => "token" });

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Equal<A, B>): void {}

export async function calls(): Promise<void> {
  const account = await mizan.save_account({ account: { name: "Ada" } });
  same<typeof account, Account>(true);
  same<Account["nick"], string | null>(true);
  same<Account["age"], number>(true);
  same<Account["initials"], string>(true);
  same<AccountInput["age"], number | undefined>(true);
  await mizan.save_account({ account: { name: "Ada", nick: null, age: 3, secret: "x" }, user_id: null });
  // @ts-expect-error  a required argument is missing
  await mizan.save_account({});
  // @ts-expect-error  so are all arguments
  await mizan.save_account();
  // @ts-expect-error  an argument that there is not
  await mizan.save_account({ account: { name: "Ada" }, other: 1 });
  // @ts-expect-error  a field that there is not
  await mizan.save_account({ account: { name: "Ada", initials: "A" } });
  // @ts-expect-error  null where there may be none
  await mizan.save_account({ account: { name: null } });
  // @ts-expect-error  a field that is not sent back
  console.log(account.secret);

  await mizan.attach({ user_id: 5, picture: new Blob([]), more: [new File([], "a.png")], thumbnail: null, tags: ["a"] });
  // @ts-expect-error  a text is no file
  await mizan.attach({ user_id: 5, picture: "a.png" });
  // @ts-expect-error  a file is missing
  await mizan.attach({ user_id: 5 });
  await mizan.attach_if_any({ note: "" });
  await mizan.contexts_({ then: true });
  await mizan.delete({ item: { shelf: "a" }, other: { id: 1, price: "1.50" } });
  // @ts-expect-error  two models of one name
  await mizan.delete({ item: { id: 1, price: "1.50" }, other: { shelf: "a" } });
  await mizan["a.b-c"]({ models: { dashed: { "content-type": "text", one: 1, "größe": 2, class: 3 }, accounts: {} } });
  // @ts-expect-error  the field's own name instead of its alias
  await mizan["a.b-c"]({ models: { dashed: { content_type: "text", one: 1 }, accounts: {} } });
  const { dashed, by_color } = await mizan["a.b-c"]({ models: { dashed: { "content-type": "", one: 1 }, accounts: {} } });
  same<typeof dashed.both, number>(true);
  same<(typeof by_color)["deep blue"], number[] | undefined>(true);
  // @ts-expect-error  a key that is no color
  by_color.green = [];

  same<Awaited<ReturnType<Mizan["many"]>>, Functions["many"]["result"]>(true);
  await mizan.many();
  await mizan.many({ nothing: null, accounts: [{ name: "Ada" }] }, { signal: new AbortController().signal });
  // @ts-expect-error  private functions are not for clients
  await mizan.private_one({ secret: 1 });
  // @ts-expect-error  nor are views
  await mizan.page_view({ page: 1 });
  // @ts-expect-error  no arguments
  await mizan.then_({ any: 1 });
}

export async function kinds(tree: Tree): Promise<void> {
  const given = { pets: [null], tagged: 1, literal: null, mixed: 1.5, several: { a: 1 }, same: "1" } as const;
  const pets = await mizan.unions({ ...given, pets: [null], pet: { kind: "wolf", good: true } });
  for (const pet of pets) {
    if (typeof pet === "object" && "kind" in pet && pet.kind === "cat") {
      same<typeof pet.lives, number>(true);
    }
  }
  // @ts-expect-error  a field of another alternative
  await mizan.unions({ ...given, pets: [null], pet: { kind: "cat", good: true } });
  // @ts-expect-error  a tag that names none of the alternatives
  await mizan.unions({ ...given, pets: [null], pet: { kind: "cow" } });
  // @ts-expect-error  none of the values
  await mizan.unions({ ...given, pets: [null], pet: { kind: "cat" }, literal: "b" });

  const leaf: Tree | undefined = tree.children[0]?.branch?.trees[0];
  // @ts-expect-error  there may be none
  console.log(tree.children[0].value, leaf);
  const flat: SizeInput = [1];
  const sized: SizeInput = [1, 2];
  // @ts-expect-error  one too many
  const solid: SizeInput = [1, 2, 3];
  console.log(flat, sized, solid);
  const [length, , , money] = await mizan.standard({
    moment: "2026-01-02T03:04:05Z",
    clock: "03:04",
    length: "PT1S",
    identifier: "12345678-1234-5678-1234-567812345678",
    raw: "bytes",
    money: 1.5,
    percent: 5,
    few: [1],
    unique: [[1, "a"]],
    fixed: [1, "a", null],
    none: [],
    inner: "[1]",
    whatever: Symbol(),
    thing: undefined,
    plain: { a: [] },
  });
  same<typeof length, string>(true);
  same<typeof money, string>(true);
}

export async function contexts(): Promise<void> {
  const odd = mizan.contexts["odd.context-1"];
  const bundle = await odd.fetch({ user_id: 5, color: "red" }, { signal: new AbortController().signal });
  same<typeof bundle, Contexts["odd.context-1"]["data"]>(true);
  same<(typeof bundle)["second-reader.v2"]["items"][number]["price"], string>(true);
  // @ts-expect-error  a required parameter is missing
  await odd.fetch();
  // @ts-expect-error  a color that there is not
  await odd.fetch({ user_id: 5, color: "green" });
  await mizan.contexts.inbox.fetch();
  await mizan.contexts.inbox.load({});
  await mizan.contexts.inbox_params.fetch();
  // @ts-expect-error  a context of pages has no bundle
  await mizan.contexts.pages.fetch({ page: 1 });

  const end = odd.subscribe({ user_id: 5 }, (state) => {
    same<typeof state, State<Contexts["odd.context-1"]["data"]>>(true);
    if (state.error instanceof MizanError) console.log(state.error.code, state.data?.scalars);
  });
  end();
  same<typeof bundle | undefined, ReturnType<typeof odd.state>["data"]>(true);
  odd.invalidate({ color: "deep blue" });
  odd.invalidate();
  // @ts-expect-error  not a parameter
  odd.invalidate({ colour: "red" });
}

export async function optimistic(): Promise<void> {
  await mizan.save_account(
    { account: { name: "Ada" } },
    {
      optimistic: {
        context: "odd.context-1",
        params: { user_id: 5 },
        update: (data) => ({ ...data, scalars: { changed: true } }),
      },
    },
  );
  await mizan.save_account(
    { account: { name: "Ada" } },
    // @ts-expect-error  what the context does not hold
    { optimistic: { context: "inbox", update: () => ({ inbox: "text" }) } },
  );
  // @ts-expect-error  not a context
  await mizan.client.call("delete", undefined, { optimistic: { context: "nothing", update: (data) => data } });
  const color: Color = "deep blue";
  same<Functions["then"]["result"], null>(true);
  console.log(color, await mizan.client.call("then"));
}
