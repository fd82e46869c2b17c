import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../../localllm_magics/widgets/format.js";
import { row } from "./fixtures.mjs";

const { toBadge, toCount, toObstacle, toReading, toShare, toSize, toSource, toSpeed } = format;
const FIT = { verdict: /** @type {const} */ ("gpu"), needed: 6.6e9, free: 35e9, max_gpu_layers: 7, context: 1024 };

test("sizes and counts have a unit", () => {
  assert.deepEqual([0, 999, 3_191_104, 999_960_000, 2e18].map(toSize), ["0 B", "999 B", "3.2 MB", "1.0 GB", "2000.0 PB"]);
  assert.deepEqual([12, 7.2e9].map(toCount), ["12", "7.2 B"]);
});

test("a part of a whole has the unit once where it is the same", () => {
  assert.equal(toShare(6.6e9, 35e9), "6.6 of 35.0 GB");
  assert.equal(toShare(9e6, 13e9), "9.0 MB of 13.0 GB");
});

test("rates are rounded to what they are worth", () => {
  const speeds = ["", "", "≈ 0.051 tok/s", "≈ 1.0 tok/s", "≈ 9.9 tok/s", "≈ 10 tok/s", "≈ 430 tok/s", "≈ 1,000 tok/s"];
  assert.deepEqual([null, 0, 0.0512, 0.999, 9.94, 9.96, 426, 999].map(toSpeed), speeds);
  assert.deepEqual([null, 110, 20].map(toReading), ["", "1,000 tokens read in ≈ 9.1 s", "1,000 tokens read in ≈ 50 s"]);
});

for (const [name, changed, expected] of /** @type {const} */ ([
  ["on the GPU", { fit: FIT }, ["gpu", "fits on the GPU", "6.6 of 35.0 GB"]],
  ["in part", { fit: { ...FIT, verdict: "partial" } }, ["partial", "partly on the GPU", "6.6 of 35.0 GB"]],
  ["too big", { fit: { ...FIT, verdict: "too big" } }, ["too big", "too big", "6.6 of 35.0 GB"]],
  ["not known", { fit: null }, ["unknown", "fit unknown", ""]],
  ["on a server", { fit: null, local: false }, ["unknown", "on a server", ""]],
  ["a projector", { kind: "projector" }, ["unusable", "projector", ""]],
  ["unreadable", { problem: "The file is empty." }, ["unusable", "unreadable", ""]],
])) {
  test(`the badge of a model that is ${name}`, () => {
    const { verdict, text, numbers } = toBadge(row(changed));
    assert.deepEqual([verdict, text, numbers], expected);
  });
}

test("what cannot be asked says why", () => {
  assert.equal(toObstacle(row()), "");
  assert.equal(toObstacle(row({ problem: "The file is empty." })), "The file is empty.");
  assert.equal(toObstacle(row({ kind: "adapter" })), "This is an adapter, which belongs to another model.");
});

test("sources have their names, also one that is new", () => {
  assert.deepEqual(["huggingface", "elsewhere"].map(toSource), ["Hugging Face", "elsewhere"]);
});
