// How the hooks of `awkward` are used. Every line below a `@ts-expect-error` is wrong, and `tsc` has to say so.

import * as React from "react";

import { createMizan } from "./mizan.js";
import type { Contexts, Functions } from "./mizan.js";
import { MizanProvider, useABC, useInbox, useInboxSuspense, useMizan, useOddContext1, useSaveAccount } from "./mizan.react.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Equal<A, B>): void {}

export function Odd(props: { user_id: number | null }): React.ReactNode {
  const { data, error, loading, refetch } = useOddContext1(props.user_id === null ? null : { user_id: props.user_id });
  same<typeof data, Contexts["odd.context-1"]["data"] | undefined>(true);
  same<typeof error, Error | undefined>(true);
  same<typeof loading, boolean>(true);
  same<ReturnType<typeof refetch>, Promise<Contexts["odd.context-1"]["data"]>>(true);
  // @ts-expect-error  it may not be there yet
  console.log(data.scalars);
  // @ts-expect-error  a required parameter is missing
  useOddContext1();
  // @ts-expect-error  not a parameter
  useOddContext1({ user_id: 5, colour: "red" });
  return String(data?.["second-reader.v2"].next);
}

export function Inbox(): React.ReactNode {
  const { data } = useInboxSuspense();
  same<typeof data, Contexts["inbox"]["data"]>(true);
  same<ReturnType<typeof useInbox>["data"], typeof data | undefined>(true);
  return data.inbox;
}

export function Save(): React.ReactNode {
  const { call, mutate, pending, error, result, reset } = useSaveAccount();
  same<typeof result, Functions["save_account"]["result"] | undefined>(true);
  same<Awaited<ReturnType<typeof call>>, Functions["save_account"]["result"]>(true);
  // @ts-expect-error  a required argument is missing
  mutate();
  const { mutate: rename } = useABC();
  // @ts-expect-error  not what it takes
  rename({ models: 1 });
  const { client } = useMizan();
  return React.createElement(
    "button",
    {
      disabled: pending,
      title: error?.message,
      onClick: () => mutate({ account: { name: "Ada" } }),
      onDoubleClick: () => {
        reset();
        client.identify(null);
      },
    },
    result?.initials,
  );
}

export const page = React.createElement(MizanProvider, { mizan: createMizan() }, React.createElement(Save));
