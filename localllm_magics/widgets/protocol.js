// What the kernel and this page say to each other; protocol.py has the same shapes.

import { isFlag, isNumber, isText, listOf, oneOf, orNull, record } from "./guards.js";

/**
 * @template G
 * @typedef {import("./guards.js").Guarded<G>} Guarded
 */

export const isSettings = record({ context: isNumber, gpu_layers: isNumber, cpu_moe: isNumber, kv_type: isText });

export const isUse = record({
  device: isText,
  weights: isNumber,
  kv_cache: isNumber,
  compute: isNumber,
  free: isNumber,
  total: isNumber,
});

export const isPlanned = record({
  settings: isSettings,
  uses: listOf(isUse),
  exact: isFlag,
  speed: orNull(isNumber),
  prompt_speed: orNull(isNumber),
});

const isOptions = record({
  context: orNull(isNumber),
  gpu_layers: orNull(isNumber),
  cpu_moe: orNull(isNumber),
  kv_type: orNull(isText),
});

/** What this page sends, by kind. */
export const COMMANDS = {
  load: record({ kind: oneOf("load"), id: isText, reference: isText, options: isOptions, force: isFlag }),
  cancel: record({ kind: oneOf("cancel"), id: isText, target: isText }),
  unload: record({ kind: oneOf("unload"), id: isText, reference: isText }),
  rescan: record({ kind: oneOf("rescan"), id: isText }),
  plan: record({ kind: oneOf("plan"), id: isText, reference: isText, options: listOf(isOptions), exact: isFlag }),
};

const isAccepted = record({ kind: oneOf("accepted"), id: isText });
const isDone = record({ kind: oneOf("done"), id: isText, notices: listOf(isText), plans: listOf(isPlanned) });
const isCancelled = record({ kind: oneOf("cancelled"), id: isText });
const isFailed = record({ kind: oneOf("failed"), id: isText, message: isText, hint: isText, can_force: isFlag });

export const isFitting = record({
  verdict: oneOf("gpu", "partial", "cpu", "too big"),
  needed: isNumber,
  free: isNumber,
  max_gpu_layers: isNumber,
  context: isNumber,
});

export const isRow = record({
  reference: isText,
  name: isText,
  source: isText,
  kind: orNull(isText),
  problem: orNull(isText),
  path: orNull(isText),
  size: orNull(isNumber),
  parameters: orNull(isNumber),
  architecture: orNull(isText),
  quantization: orNull(isText),
  context: orNull(isNumber),
  layers: orNull(isNumber),
  experts: isNumber,
  template: orNull(isFlag),
  local: isFlag,
  fit: orNull(isFitting),
  speed: orNull(isNumber),
  prompt_speed: orNull(isNumber),
});

const isLoaded = record({
  reference: isText,
  memory: isNumber,
  device: orNull(isText),
  context: orNull(isNumber),
  gpu_layers: orNull(isNumber),
  options: isOptions,
});

export const isStatus = record({
  current: orNull(isText),
  loaded: listOf(isLoaded),
  loading: orNull(record({ id: isText, reference: isText, fraction: isNumber })),
  activity: isText,
  note: isText,
  devices: listOf(isText),
});

/**
 * @typedef {Guarded<typeof isSettings>} Settings
 * @typedef {Guarded<typeof isOptions>} Options  What the user has set; null leaves it to the kernel.
 * @typedef {Guarded<(typeof COMMANDS)[keyof typeof COMMANDS]>} Command
 * @typedef {Command extends infer C ? C extends Command ? Omit<C, "id"> : never : never} Wish  A command without its id.
 * @typedef {Guarded<typeof isUse>} Use
 * @typedef {Guarded<typeof isPlanned>} Planned
 * @typedef {Guarded<typeof isRow>} Row
 * @typedef {Guarded<typeof isLoaded>} Loaded
 * @typedef {Guarded<typeof isStatus>} Status
 * @typedef {Guarded<typeof isDone>} Done
 * @typedef {Guarded<typeof isCancelled>} Cancelled
 * @typedef {Guarded<typeof isFailed>} Failed
 * @typedef {Done | Cancelled | Failed} Ending
 * @typedef {Guarded<typeof isAccepted> | Ending} Answer
 */

/** @type {Status} */
export const NOTHING = { current: null, loaded: [], loading: null, activity: "", note: "", devices: [] };

/** @type {Options} */
export const DEFAULTS = { context: null, gpu_layers: null, cpu_moe: null, kv_type: null };

/**
 * Whether two models are loaded in the same way.
 *
 * @param {Options} one
 * @param {Options} other
 */
export function areSame(one, other) {
  const { context, gpu_layers, cpu_moe, kv_type } = one;
  const isSamePlace = gpu_layers === other.gpu_layers && cpu_moe === other.cpu_moe;
  return isSamePlace && context === other.context && kv_type === other.kv_type;
}

/**
 * A message of the kernel as an answer; null if it is none.
 *
 * @param {unknown} message
 * @returns {Answer | null}
 */
export function toAnswer(message) {
  for (const guard of [isAccepted, isDone, isCancelled, isFailed]) {
    if (guard(message)) return message;
  }
  return null;
}
