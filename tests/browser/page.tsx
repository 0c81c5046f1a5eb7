// A page in React over `tests.http.site`: one user shown twice, another once, a part that suspends, and a form.

import * as React from "react";
import { createRoot } from "react-dom/client";

import { createMizan } from "./mizan.js";
import { MizanProvider, useUpdateProfile, useUser, useUserSuspense } from "./mizan.react.js";

declare global {
  interface Window {
    mounts: Record<string, number>;
    renders: Record<string, number>;
  }
}

window.mounts = {};
window.renders = {};

function counted(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

function Name(props: { id: string; user_id: number }): React.ReactNode {
  const { data, error, refetch } = useUser({ user_id: props.user_id });
  counted(window.renders, props.id);
  React.useEffect(() => counted(window.mounts, props.id), [props.id]);
  return <p id={props.id} onClick={() => void refetch()}>{data?.user_profile.name ?? error?.message ?? "loading"}</p>;
}

function Badges(props: { id: string; user_id: number }): React.ReactNode {
  const { data } = useUserSuspense({ user_id: props.user_id });
  return <p id={props.id}>{data.user_badges.join(", ")}</p>;
}

/** Tries again as docs/how-to/typed-clients.md says. */
class Boundary extends React.Component<{ retry: () => void; children: React.ReactNode }, { error: Error | null }> {
  override state = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render(): React.ReactNode {
    const again = () => {
      this.props.retry();
      this.setState({ error: null });
    };
    return this.state.error === null ? this.props.children : <button id="again" onClick={again}>again</button>;
  }
}

function Rename(props: { user_id: number }): React.ReactNode {
  const { mutate, pending, error } = useUpdateProfile();
  const [name, setName] = React.useState("");
  const rename = (event: React.FormEvent) => {
    event.preventDefault();
    const { user_id } = props;
    mutate(
      { user_id, name },
      {
        optimistic: {
          context: "user",
          params: { user_id },
          update: (data) => ({ ...data, user_profile: { ...data.user_profile, name } }),
        },
      },
    );
  };
  return (
    <form onSubmit={rename}>
      <input id="name" value={name} onChange={(event) => setName(event.target.value)} />
      <output id="progress">{error?.message ?? (pending ? "saving" : "")}</output>
    </form>
  );
}

const mizan = createMizan();

createRoot(document.getElementById("root")!).render(
  <React.StrictMode>
    <MizanProvider mizan={mizan}>
      <Name id="one" user_id={5} />
      <Name id="same" user_id={5} />
      <Name id="other" user_id={7} />
      <React.Suspense fallback={<p id="waiting">waiting</p>}>
        <Badges id="badges" user_id={5} />
        {location.hash === "#guarded" && (
          <Boundary retry={() => mizan.contexts.user.invalidate()}>
            <Badges id="guarded" user_id={9} />
          </Boundary>
        )}
      </React.Suspense>
      <Rename user_id={5} />
    </MizanProvider>
  </React.StrictMode>,
);
