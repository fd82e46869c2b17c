import assert from "node:assert/strict";
import { test } from "node:test";
import { between, contexts, corners, needed } from "../../localllm_magics/widgets/memory.js";
import { planned } from "./fixtures.mjs";

/** @type {import("../../localllm_magics/widgets/memory.js").Range} */
const RANGE = { context: [1000, 9000], gpu_layers: [0, 40], cpu_moe: [0, 0] };
const CORNERS = [1000, 9000].flatMap((context) => [0, 40].map((gpu_layers) => planned({ context, gpu_layers })));

test("a range has a corner for each end, and one for what cannot be set", () => {
  const found = corners(RANGE, "q8_0").map(({ context, gpu_layers }) => [context, gpu_layers]);
  assert.deepEqual(found, [[1000, 0], [1000, 40], [9000, 0], [9000, 40]]);
  assert.deepEqual(new Set(corners(RANGE, "q8_0").map(({ kv_type }) => kv_type)), new Set(["q8_0"]));
});

for (const settings of [{ context: 1000, gpu_layers: 0 }, { context: 5000, gpu_layers: 10 }, { context: 9000, gpu_layers: 40 }]) {
  test(`between the corners memory is linear: ${JSON.stringify(settings)}`, () => {
    const real = planned(settings);
    const found = between(CORNERS, RANGE, real.settings);
    assert.deepEqual(found?.uses.map(needed), real.uses.map(needed));
    assert.ok(Math.abs((found?.speed ?? 0) - (real.speed ?? 0)) < 1e-9);
    assert.equal(found?.prompt_speed, null);
    assert.equal(found?.exact, false);
  });
}

test("beyond the corners nothing grows", () => {
  const { settings } = planned({ context: 90_000, gpu_layers: 99 });
  assert.deepEqual(between(CORNERS, RANGE, settings)?.uses, planned({ context: 9000, gpu_layers: 40 }).uses);
});

test("without all corners, or with those of another cache, nothing is known", () => {
  const { settings } = planned({ context: 5000, gpu_layers: 10 });
  assert.equal(between([], RANGE, settings), null);
  assert.equal(between(CORNERS.slice(1), RANGE, settings), null);
  assert.equal(between(CORNERS, RANGE, { ...settings, kv_type: "q8_0" }), null);
});

test("the stops of a context go up to the trained size, and have the wanted one", () => {
  assert.deepEqual(contexts(4096, 1000), [512, 768, 1000, 1024, 1536, 2048, 3072, 4096]);
  assert.deepEqual(contexts(256, 256), [256]);
  assert.deepEqual(contexts(0, 512), [512]);
});
