// The types of the runtime: what users write compiles, and what is wrong does not.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));

test("what users write passes tsc --strict, and what is wrong does not", () => {
  const ran = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "--project", "."], { cwd: HERE });
  assert.equal(`${ran.stdout}${ran.stderr}`, "");
  assert.equal(ran.status, 0);
});
