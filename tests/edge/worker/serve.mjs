// The example in workerd: node serve.mjs FOLDER ORIGIN. Says its address, and ends when standard input does.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const require = createRequire(new URL("../../js/package.json", import.meta.url));
const { Miniflare } = require("miniflare");
const [folder, origin] = process.argv.slice(2);
const here = resolve(folder);
const worker = new Miniflare({
  modules: ["worker.js", "edge.js", "tables.js"].map((name) => ({ type: "ESModule", path: join(here, name) })),
  modulesRoot: here,
  compatibilityDate: "2025-07-01",
  host: "127.0.0.1",
  port: 0,
  durableObjects: { GENERATIONS: { className: "Generations", useSQLite: true } },
  bindings: { ORIGIN: origin, PURGE_SECRET: "secret", REFETCH: process.env.REFETCH ?? "0" },
});
console.log((await worker.ready).origin);
process.stdin.resume();
process.stdin.on("end", async () => {
  await worker.dispose();
  process.exit(0);
});
