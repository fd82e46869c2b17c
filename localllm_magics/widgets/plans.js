// The plan of the chosen model: at once from the header, and from the engine when the settings rest.

import { between, contexts, corners } from "./memory.js";
import { DEFAULTS, areSame } from "./protocol.js";

/** @typedef {import("./protocol.js").Options} Options */
/** @typedef {import("./protocol.js").Planned} Planned */
/** @typedef {import("./protocol.js").Row} Row */
/** @typedef {import("./memory.js").Range} Range */
/** @typedef {import("./kernel.js").Kernel} Kernel */

const REST = 400; // milliseconds without a change after which the engine is asked
const LARGEST_DEFAULT = 8192;

/**
 * What can be set, and what follows from it.
 *
 * @typedef {object} Choice
 * @property {Row} row
 * @property {Options} options  What the user has set.
 * @property {Planned} plan  With no devices where nothing is known.
 * @property {readonly number[]} contexts  The stops of the slider.
 * @property {Range} range
 * @property {boolean} isAsking  Whether the engine is being asked.
 * @property {string} problem  Why there is no plan.
 */

/** The choice of one model and its settings. */
export class Plans {
  /** @type {Kernel} */
  #kernel;
  /** @type {(choice: Choice | null) => void} */
  #onChange;
  /** @type {Choice | null} */
  #choice = null;
  /** @type {Planned | null} */
  #defaults = null;
  /** @type {readonly Planned[]} */
  #corners = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #rest;
  #asked = "";

  /**
   * @param {Kernel} kernel
   * @param {(choice: Choice | null) => void} onChange
   * @param {AbortSignal} signal
   */
  constructor(kernel, onChange, signal) {
    this.#kernel = kernel;
    this.#onChange = onChange;
    signal.addEventListener("abort", () => clearTimeout(this.#rest));
  }

  /**
   * Choose a model; what was set stays where it is the one that is chosen.
   *
   * @param {Row} row
   * @param {readonly string[]} devices
   * @param {Options} options  What to begin with.
   */
  async choose(row, devices, options = DEFAULTS) {
    const before = this.#choice;
    this.#leave();
    this.#corners = [];
    this.#defaults = null;
    const isSame = before?.row.reference === row.reference;
    this.#change(toChoice(row, isSame ? before.plan : guess(row), devices, isSame ? before.options : options));
    if (!row.local || row.problem !== null) return;
    const [planned] = await this.#ask(row, [DEFAULTS], false);
    if (!planned || this.#choice?.row !== row) return;
    this.#defaults = planned;
    this.#choice = toChoice(row, planned, devices, this.#choice.options);
    this.set({});
    await this.#askCorners(row, false);
  }

  /** Choose nothing. */
  clear() {
    this.#leave();
    this.#change(null);
  }

  /**
   * Set some of the options; the others stay.
   *
   * @param {Partial<Options>} changed
   */
  set(changed) {
    const choice = this.#choice;
    if (!choice) return;
    const options = { ...choice.options, ...changed };
    const settings = merged(options, (this.#defaults ?? choice.plan).settings);
    const isSameType = settings.kv_type === choice.plan.settings.kv_type;
    const plan = (areSame(options, DEFAULTS) && this.#defaults) || between(this.#corners, choice.range, settings);
    this.#leave();
    this.#change({ ...choice, options, plan: plan ?? { ...choice.plan, settings, exact: false } });
    if (!isSameType) void this.#askCorners(choice.row, false);
    this.#wait();
  }

  /** Go back to what a load without options would do. */
  reset() {
    this.set(DEFAULTS);
  }

  /** Ask the engine once the settings have rested. */
  #wait() {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => void this.#askEngine(), REST);
  }

  async #askEngine() {
    const choice = this.#choice;
    if (!choice || !this.#defaults) return;
    this.#change({ ...choice, isAsking: true });
    const [plan] = await this.#ask(choice.row, [choice.options], true);
    const now = this.#choice;
    if (now?.row !== choice.row || now.options !== choice.options) return;
    this.#change({ ...now, isAsking: false, plan: plan ?? now.plan });
    if (plan && !this.#corners.some((corner) => corner.exact)) await this.#askCorners(choice.row, true);
  }

  /**
   * @param {Row} row
   * @param {boolean} exact
   */
  async #askCorners(row, exact) {
    const choice = this.#choice;
    if (choice?.row !== row) return;
    const kvType = choice.plan.settings.kv_type;
    const plans = await this.#ask(row, corners(choice.range, kvType), exact);
    if (plans.length && this.#choice?.row === row && this.#choice.plan.settings.kv_type === kvType) {
      this.#corners = plans;
    }
  }

  /**
   * The plans for a row; none where they were not made.
   *
   * @param {Row} row
   * @param {Options[]} options
   * @param {boolean} exact
   */
  async #ask(row, options, exact) {
    const { id, ending } = this.#kernel.send({ kind: "plan", reference: row.reference, options, exact });
    if (exact) this.#asked = id;
    const answer = await ending;
    if (this.#asked === id) this.#asked = "";
    if (answer.kind === "done") return answer.plans;
    if (answer.kind === "failed" && this.#choice?.row === row) {
      const problem = [answer.message, answer.hint].filter(Boolean).join(" ");
      this.#change({ ...this.#choice, isAsking: false, problem });
    }
    return [];
  }

  /** Ask no longer for what is no longer wanted. */
  #leave() {
    clearTimeout(this.#rest);
    if (this.#asked) this.#kernel.send({ kind: "cancel", target: this.#asked });
    this.#asked = "";
    if (this.#choice) this.#choice = { ...this.#choice, isAsking: false };
  }

  /** @param {Choice | null} choice */
  #change(choice) {
    this.#choice = choice;
    this.#onChange(choice);
  }
}

/**
 * What a load would do where the kernel does not tell.
 *
 * @param {Row} row
 * @returns {Planned}
 */
function guess(row) {
  const context = row.fit?.context || Math.min(row.context ?? LARGEST_DEFAULT, LARGEST_DEFAULT);
  const settings = { context, gpu_layers: row.fit?.max_gpu_layers ?? 0, cpu_moe: 0, kv_type: "f16" };
  return { settings, uses: [], exact: false, speed: row.speed, prompt_speed: row.prompt_speed };
}

/**
 * @param {Row} row
 * @param {Planned} plan
 * @param {readonly string[]} devices
 * @param {Options} options
 * @returns {Choice}
 */
function toChoice(row, plan, devices, options) {
  const { context, gpu_layers, cpu_moe } = plan.settings;
  const stops = contexts(row.context ?? context, context, options.context ?? context);
  const layers = devices.length ? row.layers ?? 0 : 0;
  /** @type {Range} */
  const range = {
    context: [stops[0] ?? context, stops.at(-1) ?? context],
    gpu_layers: layers ? [0, layers + 1] : [gpu_layers, gpu_layers],
    cpu_moe: layers && row.experts ? [0, layers] : [cpu_moe, cpu_moe],
  };
  return { row, options, plan, contexts: stops, range, isAsking: false, problem: "" };
}

/**
 * @param {Options} options
 * @param {import("./protocol.js").Settings} defaults
 */
function merged(options, defaults) {
  return {
    context: options.context ?? defaults.context,
    gpu_layers: options.gpu_layers ?? defaults.gpu_layers,
    cpu_moe: options.cpu_moe ?? defaults.cpu_moe,
    kv_type: options.kv_type ?? defaults.kv_type,
  };
}
