// The chosen model: what is known of it, its settings, the memory it needs, and what can be done with it.

import { bars } from "./bars.js";
import { button, element, setText } from "./dom.js";
import { toBadge, toCount, toNumber, toObstacle, toReading, toSize, toSource, toSpeed } from "./format.js";
import { needed } from "./memory.js";
import { areSame } from "./protocol.js";
import { Sliders } from "./sliders.js";

/** @typedef {import("./plans.js").Choice} Choice */
/** @typedef {import("./protocol.js").Loaded} Loaded */
/** @typedef {import("./protocol.js").Options} Options */
/** @typedef {import("./protocol.js").Row} Row */
/** @typedef {import("./protocol.js").Status} Status */

/**
 * What the user can ask for.
 *
 * @typedef {object} Actions
 * @property {(isForced: boolean) => void} load
 * @property {() => void} unload
 * @property {(changed: Partial<Options>) => void} set
 * @property {() => void} reset
 */

/** The right half of the picker. */
export class Details {
  root = element("section", { class: "llm-details", "aria-label": "Details" });
  #nothing = element("div", { class: "llm-empty" }, "Choose a model to see what it needs.");
  #content = element("div", { class: "llm-content" });
  #title = element("h4", { class: "llm-title" });
  #subtitle = element("div", { class: "llm-subtitle" });
  #fit = element("div", { class: "llm-badge" });
  #facts = element("dl", { class: "llm-dl" });
  #problem = element("p", { class: "llm-problem" });
  #loaded = element("div", { class: "llm-loaded" });
  #bars = element("div", { class: "llm-bars" });
  #origin = element("div", { class: "llm-origin" });
  #forecast = element("div", { class: "llm-forecast" });
  /** @type {Sliders} */
  #sliders;
  /** @type {HTMLButtonElement} */
  #load;
  /** @type {HTMLButtonElement} */
  #force;
  /** @type {HTMLButtonElement} */
  #unload;

  /**
   * @param {Actions} actions
   * @param {AbortSignal} signal
   */
  constructor(actions, signal) {
    this.#sliders = new Sliders(actions.set, actions.reset, signal);
    this.#load = button("Load", () => actions.load(false), signal);
    this.#load.classList.add("llm-primary");
    this.#force = button("Load anyway", () => actions.load(true), signal);
    this.#unload = button("Unload", actions.unload, signal);
    const buttons = element("div", { class: "llm-actions" }, this.#load, this.#force, this.#unload);
    const plan = element("div", { class: "llm-plan" }, this.#bars, this.#origin, this.#forecast);
    const parts = [this.#title, this.#subtitle, this.#fit, this.#facts, this.#problem, this.#loaded, this.#sliders.root, plan];
    this.#content.append(element("div", { class: "llm-scroll" }, ...parts), buttons);
    this.root.append(this.#nothing, this.#content);
    this.#content.hidden = true;
  }

  /**
   * @param {Choice | null} choice
   * @param {Status} status
   * @param {boolean} wasRefused  Whether a load of this model was refused that can be forced.
   */
  show(choice, status, wasRefused) {
    this.#nothing.hidden = choice !== null;
    this.#content.hidden = choice === null;
    if (!choice) return;
    const { row, plan } = choice;
    setText(this.#title, row.name);
    setText(this.#subtitle, row.path ?? row.reference);
    this.#subtitle.title = row.path ?? row.reference;
    const { verdict, text, numbers } = toBadge(row);
    this.#fit.dataset["verdict"] = verdict;
    setText(this.#fit, [text, numbers && `${numbers} free`].filter(Boolean).join(" · "));
    this.#facts.replaceChildren(...facts(row).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    setText(this.#problem, [toObstacle(row), choice.problem].filter(Boolean).join(" "));
    this.#sliders.show(choice);
    this.#bars.replaceChildren(...bars(plan.uses));
    setText(this.#origin, origin(choice));
    setText(this.#forecast, [toSpeed(plan.speed), toReading(plan.prompt_speed)].filter(Boolean).join(" · "));
    this.#showActions(choice, status, wasRefused);
  }

  /**
   * @param {Choice} choice
   * @param {Status} status
   * @param {boolean} wasRefused
   */
  #showActions({ row, plan, options }, status, wasRefused) {
    const loaded = status.loaded.find((model) => model.reference === row.reference && model.device !== null);
    const isCurrent = status.current === row.reference;
    const isOther = loaded !== undefined && !areSame(options, loaded.options);
    const isTooMuch = plan.uses.length ? plan.uses.some((use) => needed(use) > use.free) : row.fit?.verdict === "too big";
    const isIdle = status.loading === null && !toObstacle(row);
    setText(this.#loaded, loaded ? toPlacement(loaded, status.devices.length > 0) : "");
    setText(this.#load, !loaded ? "Load" : isOther ? "Load again" : isCurrent ? "Loaded" : "Make current");
    this.#load.disabled = !isIdle || (loaded !== undefined && isCurrent && !isOther);
    this.#force.hidden = !(isTooMuch || wasRefused) || loaded !== undefined;
    this.#force.disabled = !isIdle;
    this.#unload.hidden = !loaded;
  }
}

/**
 * How a model was loaded.
 *
 * @param {Loaded} loaded
 * @param {boolean} hasDevices
 */
function toPlacement({ context, gpu_layers }, hasDevices) {
  const parts = [
    context === null ? "" : `${toNumber(context)} tokens of context`,
    gpu_layers === null || !hasDevices ? "" : `${gpu_layers} layer${gpu_layers === 1 ? "" : "s"} on the GPU`,
  ].filter(Boolean);
  return parts.length ? `Loaded with ${parts.join(" and ")}.` : "";
}

/**
 * Names and values of what is known of a model.
 *
 * @param {Row} row
 * @returns {[name: string, value: string][]}
 */
function facts(row) {
  /** @type {[string, string][]} */
  const all = [
    ["Size", row.size === null ? "" : toSize(row.size)],
    ["Parameters", row.parameters === null ? "" : toCount(row.parameters)],
    ["Quantization", row.quantization ?? ""],
    ["Architecture", row.architecture ?? ""],
    ["Experts", row.experts ? toNumber(row.experts) : ""],
    ["Layers", row.layers === null ? "" : toNumber(row.layers)],
    ["Trained context", row.context === null ? "" : toNumber(row.context)],
    ["Chat template", row.template === null ? "" : row.template ? "yes" : "no"],
    ["Kind", row.kind ?? ""],
    ["Source", toSource(row.source)],
  ];
  return all.filter(([, value]) => value !== "");
}

/**
 * Where the plan comes from.
 *
 * @param {Choice} choice
 */
function origin({ row, plan, isAsking }) {
  if (!row.local || row.problem !== null) return "";
  if (isAsking) return "Estimated; asking llama.cpp …";
  if (!plan.uses.length) return "How much memory it needs is not known.";
  return plan.exact ? "Planned by llama.cpp." : "Estimated from the header.";
}
