// Sliders for the context and the placement of a model, and a menu for the type of its KV cache.

import { button, element, setText } from "./dom.js";
import { toNumber } from "./format.js";
import { DEFAULTS, areSame } from "./protocol.js";

/** @typedef {import("./plans.js").Choice} Choice */
/** @typedef {import("./protocol.js").Options} Options */

const KV_TYPES = ["f16", "q8_0", "q5_1", "q4_0"];

/** Controls that show a choice and report what the user sets. */
export class Sliders {
  root = element("div", { class: "llm-sliders" });
  /** @type {Choice | null} */
  #choice = null;
  /** @type {Slider} */
  #context;
  /** @type {Slider} */
  #layers;
  /** @type {Slider} */
  #experts;
  #kvType = element("select", { class: "llm-select", "aria-label": "KV cache" }, ...typeOptions(KV_TYPES));
  /** @type {HTMLButtonElement} */
  #reset;

  /**
   * @param {(changed: Partial<Options>) => void} onSet
   * @param {() => void} onReset
   * @param {AbortSignal} signal
   */
  constructor(onSet, onReset, signal) {
    const stop = (/** @type {number} */ index) => this.#choice?.contexts[index] ?? null;
    this.#context = new Slider("Context", (index) => onSet({ context: stop(index) }), signal);
    this.#layers = new Slider("Layers on the GPU", (layers) => onSet({ gpu_layers: layers }), signal);
    this.#experts = new Slider("Experts on the CPU", (layers) => onSet({ cpu_moe: layers }), signal);
    this.#kvType.addEventListener("change", () => onSet({ kv_type: this.#kvType.value }), { signal });
    this.#reset = button("Defaults", onReset, signal);
    const name = element("span", { "aria-hidden": "true" }, "KV cache");
    const type = element("div", { class: "llm-slider" }, name, this.#kvType, this.#reset);
    this.root.append(this.#context.root, this.#layers.root, this.#experts.root, type);
  }

  /** @param {Choice} choice */
  show(choice) {
    this.#choice = choice;
    const { plan, contexts, range, options, row } = choice;
    const { context, gpu_layers, cpu_moe, kv_type } = plan.settings;
    const [, mostLayers] = range.gpu_layers;
    const [, mostExperts] = range.cpu_moe;
    this.root.hidden = !row.local || row.problem !== null;
    this.#context.show([0, contexts.length - 1], contexts.indexOf(context), `${toNumber(context)} tokens`);
    this.#layers.show(range.gpu_layers, gpu_layers, `${gpu_layers} of ${mostLayers}`);
    this.#experts.show(range.cpu_moe, cpu_moe, `${cpu_moe} of ${mostExperts} layers`);
    if (!KV_TYPES.includes(kv_type)) this.#kvType.replaceChildren(...typeOptions([kv_type, ...KV_TYPES]));
    this.#kvType.value = kv_type;
    this.#reset.disabled = areSame(options, DEFAULTS);
  }
}

/** A slider with its label and its value in words. */
class Slider {
  #input = element("input", { type: "range", step: 1 });
  #value = element("output", { class: "llm-value" });
  root = element("label", { class: "llm-slider" });

  /**
   * @param {string} label
   * @param {(value: number) => void} onSet
   * @param {AbortSignal} signal
   */
  constructor(label, onSet, signal) {
    this.#input.setAttribute("aria-label", label); // without the value, which is said apart
    this.root.append(element("span", {}, label), this.#input, this.#value);
    this.#input.addEventListener("input", () => onSet(this.#input.valueAsNumber), { signal });
  }

  /**
   * Show a value; a range of one value shows nothing.
   *
   * @param {readonly [low: number, high: number]} range
   * @param {number} value
   * @param {string} text
   */
  show([low, high], value, text) {
    this.root.hidden = low === high;
    this.#input.min = String(low);
    this.#input.max = String(high);
    this.#input.value = String(value);
    this.#input.setAttribute("aria-valuetext", text);
    setText(this.#value, text);
  }
}

/** @param {readonly string[]} types */
function typeOptions(types) {
  return types.map((type) => element("option", {}, type));
}
