// Bars of memory, one for each device, against what is free there.

import { element } from "./dom.js";
import { toShare, toSize } from "./format.js";
import { needed } from "./memory.js";

/** @typedef {import("./protocol.js").Use} Use */

const PARTS = /** @type {const} */ ([
  ["weights", "weights"],
  ["kv_cache", "KV cache"],
  ["compute", "compute"],
]);

/**
 * Draw what is needed of each device; an empty list draws nothing.
 *
 * @param {readonly Use[]} uses
 * @returns {HTMLElement[]}
 */
export function bars(uses) {
  const shown = uses.filter((use, index) => index > 0 || uses.length === 1 || needed(use) > 0);
  return shown.length ? [...shown.map(bar), legend(shown)] : [];
}

/** @param {Use} use */
function bar(use) {
  const total = needed(use);
  const scale = Math.max(total, use.free, 1);
  const isOver = total > use.free;
  const said = `${use.device}: ${toSize(total)} needed, ${toSize(use.free)} free`;
  const over = isOver ? `, ${toSize(total - use.free)} too much` : "";
  const track = element("div", { class: "llm-track", role: "img", "aria-label": said + over });
  for (const [part, label] of PARTS) {
    const segment = element("div", { class: "llm-segment", "data-part": part, title: `${label}: ${toSize(use[part])}` });
    segment.style.width = `${(100 * use[part]) / scale}%`;
    track.append(segment);
  }
  if (isOver) {
    const limit = element("div", { class: "llm-limit", title: `${toSize(use.free)} free` });
    limit.style.left = `${(100 * use.free) / scale}%`;
    track.append(limit);
  }
  return element(
    "div",
    { class: "llm-bar", "data-over": isOver },
    element("span", { class: "llm-device" }, use.device),
    track,
    element("span", { class: "llm-amount" }, `${toShare(total, use.free)} free${over}`),
  );
}

/**
 * The parts, with what they take of all devices together.
 *
 * @param {readonly Use[]} uses
 */
function legend(uses) {
  const entries = PARTS.map(([part, label]) => {
    const bytes = uses.reduce((sum, use) => sum + use[part], 0);
    const swatch = element("span", { class: "llm-swatch", "data-part": part, "aria-hidden": "true" });
    return element("span", { class: "llm-entry" }, swatch, `${label} ${toSize(bytes)}`);
  });
  return element("div", { class: "llm-legend" }, ...entries);
}
