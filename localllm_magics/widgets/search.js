// Filtering and sorting thousands of models.

import { toBadge, toSource } from "./format.js";

/** @typedef {import("./protocol.js").Row} Row */
/** @typedef {"fit" | "name" | "size" | "speed"} Order */

const VERDICTS = ["gpu", "partial", "cpu", "unknown", "too big", "unusable"];
const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** The orders, as a menu shows them. */
export const ORDERS = /** @type {const} */ ([
  ["fit", "Best fit"],
  ["name", "Name"],
  ["size", "Size"],
  ["speed", "Speed"],
]);

/** @type {Readonly<Record<Order, (row: Row) => number>>} */
const RANKS = {
  fit: (row) => VERDICTS.indexOf(toBadge(row).verdict),
  name: () => 0,
  size: (row) => row.size ?? Infinity,
  speed: (row) => -(row.speed ?? 0),
};

/** Models in the order of their names, made ready to be searched. */
export class Search {
  /** @type {readonly { row: Row, text: string }[]} */
  #entries;

  /** @param {readonly Row[]} rows */
  constructor(rows) {
    const sorted = rows.toSorted((a, b) => COLLATOR.compare(a.name, b.name));
    this.#entries = sorted.map((row) => ({ row, text: toText(row) }));
  }

  /** How many models there are. */
  get size() {
    return this.#entries.length;
  }

  /**
   * Those that contain every word of a query, in whatever case.
   *
   * @param {string} query
   * @param {Order} order
   * @returns {Row[]}
   */
  find(query, order) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#entries.filter(({ text }) => words.every((word) => text.includes(word)));
    const ranked = found.map(({ row }) => ({ row, rank: RANKS[order](row) }));
    return ranked.sort((a, b) => (a.rank === b.rank ? 0 : a.rank - b.rank)).map(({ row }) => row);
  }
}

/** @param {Row} row */
function toText(row) {
  const { name, reference, architecture, quantization, kind } = row;
  const words = [name, reference, architecture, quantization, kind, toSource(row.source), toBadge(row).text];
  return words.filter(Boolean).join("\n").toLowerCase();
}
