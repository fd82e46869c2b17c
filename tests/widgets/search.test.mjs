import assert from "node:assert/strict";
import { test } from "node:test";
import { Search } from "../../localllm_magics/widgets/search.js";
import { row } from "./fixtures.mjs";

const GIGABYTE = 1e9;
const FIT = { verdict: /** @type {const} */ ("gpu"), needed: 1, free: 2, max_gpu_layers: 7, context: 1024 };
const MODELS = [
  row({ reference: "c", name: "Mistral 7B", size: 4 * GIGABYTE, speed: 10, fit: { ...FIT, verdict: "too big" } }),
  row({ reference: "a", name: "Qwen 10B", size: 9 * GIGABYTE, speed: null, fit: null, quantization: "Q4_K_M" }),
  row({ reference: "b", name: "qwen 2B", size: 1 * GIGABYTE, speed: 90, fit: FIT, source: "huggingface" }),
  row({ reference: "d", name: "broken", size: null, speed: null, fit: null, problem: "The file is empty." }),
];

/**
 * @param {string} query
 * @param {import("../../localllm_magics/widgets/search.js").Order} order
 */
function found(query, order = "name") {
  return new Search(MODELS).find(query, order).map(({ reference }) => reference).join("");
}

for (const [query, expected] of [
  ["", "dcba"],
  ["QWEN", "ba"],
  ["qwen 2", "b"],
  ["2b qwen", "b"],
  ["q4_k", "a"],
  ["hugging", "b"],
  ["fits on the gpu", "b"],
  ["unreadable", "d"],
  ["nothing has this", ""],
]) {
  test(`'${query}' finds '${expected}'`, () => assert.equal(found(query ?? ""), expected));
}

test("orders put what is best or smallest first, and what is not known last", () => {
  assert.equal(found("", "fit"), "bacd");
  assert.equal(found("", "size"), "bcad");
  assert.equal(found("", "speed"), "bcda");
});

test("numbers in names are ordered as numbers", () => {
  const search = new Search(["x10", "x9"].map((name) => row({ name })));
  assert.deepEqual(search.find("", "name").map(({ name }) => name), ["x9", "x10"]);
});
