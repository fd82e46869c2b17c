// How much memory a model needs between the settings that were planned.

/** @typedef {import("./protocol.js").Planned} Planned */
/** @typedef {import("./protocol.js").Settings} Settings */
/** @typedef {import("./protocol.js").Options} Options */
/** @typedef {import("./protocol.js").Use} Use */
/** @typedef {"context" | "gpu_layers" | "cpu_moe"} Axis */
/** @typedef {Readonly<Record<Axis, readonly [low: number, high: number]>>} Range */

const AXES = /** @type {const} */ (["context", "gpu_layers", "cpu_moe"]);
const LEAST_CONTEXT = 512;

/**
 * The options at the corners of a range: memory is linear between them, or nearly so.
 *
 * @param {Range} range
 * @param {string} kvType
 * @returns {Options[]}
 */
export function corners(range, kvType) {
  /** @type {Options[]} */
  let found = [{ context: 0, gpu_layers: 0, cpu_moe: 0, kv_type: kvType }];
  for (const axis of AXES) {
    const ends = [...new Set(range[axis])];
    found = found.flatMap((options) => ends.map((end) => ({ ...options, [axis]: end })));
  }
  return found;
}

/**
 * What a model takes of each device with these settings, and how fast it is; null where a corner is missing.
 *
 * @param {readonly Planned[]} plans  At the corners.
 * @param {Range} range
 * @param {Settings} settings
 * @returns {Planned | null}
 */
export function between(plans, range, settings) {
  const weighted = plans
    .filter((plan) => plan.settings.kv_type === settings.kv_type)
    .map((plan) => ({ plan, share: shareOf(plan.settings, range, settings) }))
    .filter(({ share }) => share > 0);
  const [first] = weighted;
  const whole = weighted.reduce((sum, { share }) => sum + share, 0);
  if (!first || Math.abs(whole - 1) > 1e-6) return null;
  /** @param {(plan: Planned) => number} value */
  const mixed = (value) => weighted.reduce((sum, { plan, share }) => sum + share * value(plan), 0);
  const uses = first.plan.uses.map((use, index) => ({
    ...use,
    weights: Math.round(mixed((plan) => plan.uses[index]?.weights ?? 0)),
    kv_cache: Math.round(mixed((plan) => plan.uses[index]?.kv_cache ?? 0)),
    compute: Math.round(mixed((plan) => plan.uses[index]?.compute ?? 0)),
  }));
  // The time for a token is a sum over layers, so times are mixed and not rates.
  const speed = inverse(mixed((plan) => inverse(plan.speed) ?? NaN));
  const promptSpeed = inverse(mixed((plan) => inverse(plan.prompt_speed) ?? NaN));
  return { settings, uses, exact: false, speed, prompt_speed: promptSpeed };
}

/**
 * @param {number | null} value
 * @returns {number | null}
 */
function inverse(value) {
  return value ? 1 / value : null;
}

/**
 * How much a corner counts at a point: 1 at the corner itself, 0 at the others.
 *
 * @param {Settings} corner
 * @param {Range} range
 * @param {Settings} point
 */
function shareOf(corner, range, point) {
  return AXES.reduce((share, axis) => {
    const [low, high] = range[axis];
    if (low === high) return share;
    const position = Math.min(1, Math.max(0, (point[axis] - low) / (high - low)));
    return share * (corner[axis] === high ? position : corner[axis] === low ? 1 - position : 0);
  }, 1);
}

/**
 * All that a model takes of a device.
 *
 * @param {Use} use
 */
export function needed(use) {
  return use.weights + use.kv_cache + use.compute;
}

/**
 * Sizes of context for a slider: powers of two and what lies half-way between them, up to the trained size.
 *
 * @param {number} trained
 * @param {...number} wanted  Those that are among them in any case.
 */
export function contexts(trained, ...wanted) {
  const stops = new Set([trained, ...wanted]);
  for (let size = LEAST_CONTEXT; size < trained; size *= 2) {
    stops.add(size);
    if (size * 1.5 < trained) stops.add(size * 1.5);
  }
  return [...stops].filter((size) => size > 0).sort((a, b) => a - b);
}
