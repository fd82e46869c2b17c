// Numbers and facts of models, in words.

/** @typedef {import("./protocol.js").Row} Row */

const SIZES = ["B", "kB", "MB", "GB", "TB", "PB"];
const COUNTS = ["", "K", "M", "B", "T", "Q"];
const NEXT_UNIT = 999.95; // one decimal would show it as 1000.0

/** @type {Readonly<Record<string, string>>} */
const SOURCES = {
  bundled: "bundled",
  folder: "folder",
  huggingface: "Hugging Face",
  ollama: "Ollama",
  lmstudio: "LM Studio",
  gpt4all: "GPT4All",
  jan: "Jan",
  daemon: "server",
};

const FITS = { gpu: "fits on the GPU", partial: "partly on the GPU", cpu: "fits on the CPU", "too big": "too big" };

/** @type {Readonly<Record<string, string>>} */
const UNASKABLE = {
  projector: "a projector, which belongs to another model",
  adapter: "an adapter, which belongs to another model",
  vocabulary: "a vocabulary without weights",
  embedding: "an embedding model, which does not answer",
};

/**
 * Bytes as `3.3 MB`.
 *
 * @param {number} bytes
 */
export function toSize(bytes) {
  return scaled(bytes, SIZES);
}

/**
 * Bytes of others as `3.3 of 8.0 GB`.
 *
 * @param {number} part
 * @param {number} whole
 */
export function toShare(part, whole) {
  const [size, all] = [toSize(part), toSize(whole)];
  const unit = all.slice(all.indexOf(" "));
  return `${size.endsWith(unit) ? size.slice(0, -unit.length) : size} of ${all}`;
}

/**
 * A number of parameters as `7.2 B`.
 *
 * @param {number} count
 */
export function toCount(count) {
  return scaled(count, COUNTS).trim();
}

/**
 * A number with separators.
 *
 * @param {number} number
 */
export function toNumber(number) {
  return Math.round(number).toLocaleString("en");
}

/**
 * A number with the digits that a forecast knows, as Python's `to_two_digits`.
 *
 * @param {number} number
 */
function toTwoDigits(number) {
  const rounded = Number(number.toPrecision(2));
  if (number >= 9.95) return toNumber(rounded);
  return number >= 0.995 ? number.toFixed(1) : String(rounded);
}

/**
 * A forecast as `≈ 14 tok/s`; empty for none.
 *
 * @param {number | null} speed
 */
export function toSpeed(speed) {
  if (!speed) return "";
  return `≈ ${toTwoDigits(speed)} tok/s`;
}

/**
 * How long a prompt takes, as `1,000 tokens read in ≈ 9 s`; empty where it is not known.
 *
 * @param {number | null} speed
 */
export function toReading(speed) {
  if (!speed) return "";
  return `1,000 tokens read in ≈ ${toTwoDigits(1000 / speed)} s`;
}

/**
 * Where a model comes from.
 *
 * @param {string} source
 */
export function toSource(source) {
  return SOURCES[source] ?? source;
}

/**
 * Why a model cannot be asked; empty where it can.
 *
 * @param {Row} row
 */
export function toObstacle(row) {
  const other = UNASKABLE[row.kind ?? ""];
  return row.problem ?? (other ? `This is ${other}.` : "");
}

/**
 * How a model fits, as a word for its style and in words with numbers.
 *
 * @param {Row} row
 * @returns {{ verdict: "gpu" | "partial" | "cpu" | "too big" | "unknown" | "unusable", text: string, numbers: string }}
 */
export function toBadge(row) {
  if (toObstacle(row)) return { verdict: "unusable", text: row.problem ? "unreadable" : row.kind ?? "", numbers: "" };
  if (!row.local) return { verdict: "unknown", text: "on a server", numbers: "" };
  if (!row.fit) return { verdict: "unknown", text: "fit unknown", numbers: "" };
  return { verdict: row.fit.verdict, text: FITS[row.fit.verdict], numbers: toShare(row.fit.needed, row.fit.free) };
}

/**
 * @param {number} number
 * @param {readonly string[]} units
 */
function scaled(number, units) {
  let power = 0;
  while (number >= NEXT_UNIT && power < units.length - 1) {
    power += 1;
    number /= 1000;
  }
  return `${power ? number.toFixed(1) : Math.round(number)} ${units[power] ?? ""}`;
}
