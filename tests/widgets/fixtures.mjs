// Values for the tests: the messages that both sides are tested with, and models made of them.

import { readFileSync } from "node:fs";
import { isRow } from "../../localllm_magics/widgets/protocol.js";

/** @typedef {import("../../localllm_magics/widgets/protocol.js").Row} Row */
/** @typedef {import("../../localllm_magics/widgets/protocol.js").Planned} Planned */

/** @type {Record<"commands" | "answers" | "rows" | "statuses", unknown[]> & { wrong: Record<string, unknown[]> }} */
export const MESSAGES = JSON.parse(readFileSync(new URL("messages.json", import.meta.url), "utf-8"));

/**
 * A model with some facts changed.
 *
 * @param {Partial<Row>} changed
 * @returns {Row}
 */
export function row(changed = {}) {
  const [first] = MESSAGES.rows;
  if (!isRow(first)) throw new Error("the first row of messages.json is none");
  return { ...first, ...changed };
}

/**
 * A plan of a model of 40 layers on a host and a GPU, in round numbers.
 *
 * @param {Partial<Planned["settings"]>} changed
 * @returns {Planned}
 */
export function planned(changed = {}) {
  const settings = { context: 1000, gpu_layers: 0, cpu_moe: 0, kv_type: "f16", ...changed };
  const share = settings.gpu_layers / 40;
  const use = { compute: 10, free: 10_000, total: 20_000 };
  return {
    settings,
    uses: [
      { ...use, device: "CPU", weights: 4000 * (1 - share), kv_cache: settings.context * (1 - share) },
      { ...use, device: "CUDA0", weights: 4000 * share, kv_cache: settings.context * share },
    ],
    exact: false,
    speed: 1 / (0.1 - 0.08 * share),
    prompt_speed: null,
  };
}
