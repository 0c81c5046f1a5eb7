// What is shipped: its types, its names, its size.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { transformSync } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const STATIC = new URL("../../src/mizan_asgi/static/", import.meta.url);

/** What the runtime may weigh on its way to a browser. */
const MAXIMUM_BYTES = 6_000;

const PAGE = readFileSync(new URL("../../docs/how-to/browser.md", import.meta.url), "utf8");

test("what users write passes tsc --strict, and what is wrong does not", () => {
  const ran = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "--project", "."], { cwd: HERE });
  assert.equal(`${ran.stdout}${ran.stderr}`, "");
  assert.equal(ran.status, 0);
});

for (const name of readdirSync(STATIC).filter((file) => file.endsWith(".js"))) {
  describe(name, () => {
    const source = readFileSync(new URL(name, STATIC), "utf8");

    test("has types for exactly what it exports", () => {
      const types = readFileSync(new URL(name.replace(/\.js$/, ".d.ts"), STATIC), "utf8");
      assert.deepEqual(exportsOf(types).sort(), exportsOf(source).sort());
    });

    test("has no type that strict linters take for a mistake", () => {
      const types = readFileSync(new URL(name.replace(/\.js$/, ".d.ts"), STATIC), "utf8").replace(/\/\*.*?\*\//gs, "");
      assert.equal(types.match(/\b(any|Function|Object|String|Number|Boolean|Symbol)\b|\{\s*\}|@ts-|eslint/), null);
    });

    test("imports nothing but what lies beside it", () => {
      for (const [, from] of source.matchAll(/^import .* from "(.*)";$/gm)) assert.match(from, /^\.\/\w+\.js$/);
    });
  });
}

test("the runtime is small, and as small as its page says", () => {
  const source = readFileSync(new URL("client.js", STATIC));
  const { code } = transformSync(source, { minify: true, format: "esm" });
  const size = gzipSync(code, { level: 9 }).length;
  assert.ok(size <= MAXIMUM_BYTES, `${size} bytes`);
  const [small, whole] = [size, source.length].map((one) => `${Math.round(one / 1_000)} kB`);
  const said = PAGE.match(/a build step, (\d+ kB) minified and gzipped. `Mizan` serves it as\s+it is written, (\d+ kB),/);
  assert.deepEqual(said.slice(1), [small, whole]);
});

function exportsOf(source) {
  return [...source.matchAll(/^export (?:async )?(?:class|function|const) (\w+)/gm)].map(([, name]) => name);
}
