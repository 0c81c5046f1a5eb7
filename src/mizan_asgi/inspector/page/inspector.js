// The page of the inspector: what one worker of an application does, as it happens.

import { LiveList, Proofs } from "./calls.js";
import { count, find } from "./dom.js";
import { Feed } from "./feed.js";
import { Graph } from "./graph.js";
import { showRates } from "./rates.js";
import { Trying } from "./trying.js";

const STATES = { live: "live", paused: "paused", lost: "no answer" };

function showState(state, text = STATES[state]) {
  const shown = find("state-text");
  find("state").dataset.state = state;
  if (shown.textContent !== text) shown.textContent = text;
}

function showWorkers(feed) {
  const pids = [...feed.workers.keys()].map((worker) => worker.split("-")[0]);
  const shared = [...feed.workers.values()].some((one) => one.cache.shared);
  const others = shared ? " Other processes share its cache; their calls are not shown." : "";
  find("workers").textContent = feed.several
    ? `${count(pids.length, "worker")} of several: ${pids.join(", ")}. Each tells what it did itself.`
    : `This worker, process ${pids.join(", ")}.${others}`;
}

function glowing(graph, records) {
  for (const record of records) {
    if (record.kind === "call") graph.glow("mutation", record.function);
    if (record.context) graph.glow("context", record.context);
    for (const scope of record.scopes ?? []) graph.glow("context", scope.context);
  }
}

async function start() {
  const response = await fetch("application.json", { cache: "no-store" });
  if (!response.ok) throw new Error((await response.json()).detail);
  const application = await response.json();
  const graph = new Graph(application.manifest);
  new Trying(application);
  const list = new LiveList();
  const proofs = new Proofs();
  const feed = new Feed({
    several: application.several_workers,
    state: showState,
    changed(answer, { isNew, restarted }) {
      if (restarted) {
        list.clear();
        proofs.clear();
      }
      if (isNew) showWorkers(feed);
      list.take(answer.records, answer.worker, feed.several);
      proofs.take(answer.records.filter((record) => record.kind === "proof"));
      if (!isNew) glowing(graph, answer.records);
      showRates([...feed.workers.values()], application.manifest);
    },
  });
  const pause = find("pause");
  pause.addEventListener("click", () => {
    feed.pause(!feed.paused);
    pause.setAttribute("aria-pressed", String(feed.paused));
    pause.textContent = feed.paused ? "Go on" : "Pause";
  });
  feed.start();
}

start().catch((error) => showState("lost", error.message));
