// The model picker: filter, list, details, and what is going on.

import { Details } from "./details.js";
import { button, element, setText } from "./dom.js";
import { toObstacle, toSize } from "./format.js";
import { Kernel } from "./kernel.js";
import { List } from "./list.js";
import { Plans } from "./plans.js";
import { DEFAULTS, NOTHING, areSame, isRow, isStatus } from "./protocol.js";
import { listOf } from "./guards.js";
import { ORDERS, Search } from "./search.js";

/** @typedef {import("./kernel.js").Model} Model */
/** @typedef {import("./plans.js").Choice} Choice */
/** @typedef {import("./protocol.js").Ending} Ending */
/** @typedef {import("./protocol.js").Row} Row */
/** @typedef {import("./protocol.js").Status} Status */

const BUSY = "The kernel is busy: this will be done when the cell has ended.";
const SILENT = "The kernel does not answer. If it was restarted, run the cell again.";
const LOST = "The kernel was restarted: run the cell again.";
const areRows = listOf(isRow);
let views = 0;

/** One view of the widget. */
class Picker {
  /** @type {Model} */
  #model;
  /** @type {Kernel} */
  #kernel;
  #search = new Search([]);
  /** @type {Status} */
  #status = NOTHING;
  /** @type {Choice | null} */
  #choice = null;
  /** @type {Ending | null} */
  #ending = null;
  #isBusy = false;
  #isLost = false;
  #isScanning = false;
  #id = `llm-${(views += 1)}`;
  /** @type {List} */
  #list;
  /** @type {Details} */
  #details;
  /** @type {Plans} */
  #plans;
  /** @type {HTMLButtonElement} */
  #rescan;
  /** @type {HTMLButtonElement} */
  #cancel;
  #root = element("div", { class: "llm-picker", role: "group", "aria-label": "Model picker" });
  #filter = element("input", { class: "llm-filter", type: "search", placeholder: "Filter models", role: "combobox" });
  #order = element("select", { class: "llm-select", "aria-label": "Sort by" });
  #count = element("span", { class: "llm-count", role: "status" });
  #state = element("div", { class: "llm-state", role: "status" });
  #progress = element("progress", { class: "llm-progress", max: 1, "aria-label": "Loading" });

  /**
   * @param {Model} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.#model = model;
    const listener = { onBusy: (/** @type {boolean} */ isBusy) => this.#setBusy(isBusy), onLost: () => this.#lose() };
    this.#kernel = new Kernel(model, String(model.get("_address")), listener, signal);
    this.#plans = new Plans(this.#kernel, (choice) => this.#show(choice), signal);
    this.#list = new List({
      id: this.#id,
      markOf: (row) => this.#markOf(row),
      onSelect: (row) => this.#choose(row, true),
      onDrawn: () => this.#filter.setAttribute("aria-activedescendant", this.#list.activeId),
      signal,
    });
    const actions = {
      load: (/** @type {boolean} */ isForced) => void this.#load(isForced),
      unload: () => void this.#unload(),
      set: (/** @type {Partial<import("./protocol.js").Options>} */ changed) => this.#plans.set(changed),
      reset: () => this.#plans.reset(),
    };
    this.#details = new Details(actions, signal);
    this.#rescan = button("Rescan", () => void this.#scan(), signal);
    this.#cancel = button("Cancel", () => this.#stop(), signal);
    this.#build(el);
    this.#listen(signal);
    this.#takeStatus();
    this.#takeModels();
  }

  /** @param {HTMLElement} el */
  #build(el) {
    for (const [order, label] of ORDERS) this.#order.append(element("option", { value: order }, label));
    for (const [name, value] of Object.entries({
      "aria-label": "Filter models",
      "aria-expanded": "true",
      "aria-autocomplete": "list",
      "aria-controls": this.#list.root.id,
      autocomplete: "off",
      spellcheck: "false",
    })) {
      this.#filter.setAttribute(name, value);
    }
    const top = element("div", { class: "llm-top" }, this.#filter, this.#order, this.#count, this.#rescan);
    const middle = element("div", { class: "llm-middle" }, this.#list.root, this.#details.root);
    const bottom = element("div", { class: "llm-bottom" }, this.#state, this.#progress, this.#cancel);
    this.#root.append(top, middle, bottom);
    el.append(this.#root);
  }

  /** @param {AbortSignal} signal */
  #listen(signal) {
    this.#filter.addEventListener("input", () => this.#find(), { signal });
    this.#order.addEventListener("change", () => this.#find(), { signal });
    this.#filter.addEventListener("keydown", (event) => this.#list.press(event), { signal });
    for (const target of [this.#filter, this.#list.root]) {
      target.addEventListener("keydown", (event) => event.key === "Enter" && this.#enter(), { signal });
    }
    /** @type {[string, () => void][]} */
    const changes = [
      ["change:_models", () => this.#takeModels()],
      ["change:_status", () => this.#takeStatus()],
      ["change:value", () => this.#takeValue()],
    ];
    for (const [event, take] of changes) {
      this.#model.on(event, take);
      signal.addEventListener("abort", () => this.#model.off(event, take));
    }
  }

  #takeModels() {
    const rows = this.#model.get("_models");
    if (!areRows(rows)) return;
    this.#search = new Search(rows);
    this.#find();
    this.#takeValue();
  }

  #takeStatus() {
    const status = this.#model.get("_status");
    if (!isStatus(status)) return;
    const before = this.#status;
    const isNewMachine = String(status.devices) !== String(before.devices);
    if (toNews(status) !== toNews(before)) this.#ending = null;
    this.#status = status;
    this.#follow(before);
    this.#list.draw();
    this.#tell();
    if (isNewMachine && this.#choice) this.#choose(this.#choice.row, false);
  }

  /**
   * Show the options that the chosen model was loaded with elsewhere, unless the user has set others.
   *
   * @param {Status} before
   */
  #follow(before) {
    const choice = this.#choice;
    if (!choice) return;
    const old = optionsIn(before, choice.row);
    const now = optionsIn(this.#status, choice.row);
    if (!areSame(old, now) && areSame(old, choice.options)) this.#plans.set(now);
  }

  /** Choose what the kernel says that is chosen. */
  #takeValue() {
    const value = this.#model.get("value");
    const row = this.#search.find("", "name").find(({ reference }) => reference === value);
    if (!row) this.#plans.clear();
    else if (this.#choice?.row !== row) this.#choose(row, false);
    this.#find();
    this.#list.reveal();
  }

  #find() {
    const order = ORDERS[this.#order.selectedIndex]?.[0] ?? "fit";
    const found = this.#search.find(this.#filter.value, order);
    const all = this.#search.size;
    const ifEmpty = all ? "No model has these words in its name." : this.#status.activity || "No models were found.";
    this.#list.show(found, this.#choice?.row.reference ?? null, ifEmpty);
    const count = found.length === all ? "" : `${found.length.toLocaleString("en")} of `;
    setText(this.#count, `${count}${all.toLocaleString("en")} model${all === 1 ? "" : "s"}`);
  }

  /**
   * @param {Row} row
   * @param {boolean} isByUser
   */
  #choose(row, isByUser) {
    if (this.#choice?.row.reference !== row.reference) this.#ending = null;
    void this.#plans.choose(row, this.#status.devices, optionsIn(this.#status, row));
    if (!isByUser || this.#isLost) return;
    this.#model.set("value", row.reference);
    this.#model.save_changes();
  }

  /** @param {Choice | null} choice */
  #show(choice) {
    this.#choice = choice;
    this.#tell();
  }

  /** Load what is chosen, if it is among the models that the filter leaves. */
  #enter() {
    if (this.#list.enter()) void this.#load(false);
  }

  /** @param {boolean} isForced */
  async #load(isForced) {
    const choice = this.#choice;
    if (!choice || this.#isLost || this.#status.loading || toObstacle(choice.row)) return;
    const { row, options } = choice;
    await this.#run({ kind: "load", reference: row.reference, options, force: isForced });
  }

  async #unload() {
    if (this.#choice) await this.#run({ kind: "unload", reference: this.#choice.row.reference });
  }

  /** @param {import("./protocol.js").Wish} command */
  async #run(command) {
    this.#ending = null;
    this.#tell();
    const ending = await this.#kernel.send(command).ending;
    this.#ending = ending;
    this.#tell();
  }

  async #scan() {
    this.#isScanning = true;
    await this.#run({ kind: "rescan" });
    this.#isScanning = false;
    this.#tell();
  }

  #stop() {
    if (this.#status.loading) this.#kernel.send({ kind: "cancel", target: this.#status.loading.id });
  }

  /** @param {boolean} isBusy */
  #setBusy(isBusy) {
    this.#isBusy = isBusy;
    this.#tell();
  }

  /** Show that nothing is so any more. */
  #lose() {
    this.#isLost = true;
    this.#status = NOTHING;
    this.#list.draw();
    this.#tell();
  }

  /** Say what is going on. */
  #tell() {
    const { loading } = this.#status;
    const wasRefused = this.#ending?.kind === "failed" && this.#ending.can_force;
    this.#details.show(this.#choice, this.#status, wasRefused);
    this.#progress.hidden = this.#cancel.hidden = loading === null;
    if (loading) this.#progress.value = loading.fraction;
    this.#rescan.disabled = this.#isScanning;
    this.#state.classList.toggle("llm-failed", this.#ending?.kind === "failed" && !loading);
    setText(this.#state, this.#words());
    if (!this.#isLost) return;
    for (const control of this.#root.querySelectorAll("button, input, select")) control.setAttribute("disabled", "");
  }

  #words() {
    const { loading, activity, note } = this.#status;
    if (this.#isLost) return LOST;
    if (this.#isBusy) return this.#kernel.isIdle ? SILENT : BUSY;
    if (loading) return `Loading ${loading.reference} …`;
    const ending = this.#ending;
    if (!ending && activity) return activity;
    if (ending?.kind === "failed") return [ending.message, ending.hint].filter(Boolean).join(" ");
    if (ending?.kind === "cancelled") return "Cancelled.";
    if (ending?.notices.length) return ending.notices.join(" ");
    const current = this.#status.loaded.find((model) => model.reference === this.#status.current);
    if (!current) return ["No model is loaded.", note].filter(Boolean).join(" ");
    const facts = [current.device ?? "", current.memory ? toSize(current.memory) : ""].filter(Boolean).join(", ");
    return `${current.reference}${facts && ` (${facts})`} answers %%llm cells.`;
  }

  /** @param {Row} row */
  #markOf(row) {
    if (this.#status.current === row.reference) return "current";
    return this.#status.loaded.some((model) => model.reference === row.reference) ? "loaded" : "";
  }
}

/**
 * What makes a message an old one when it changes.
 *
 * @param {Status} status
 */
function toNews({ current, loaded, loading }) {
  return JSON.stringify([current, loaded.map(({ reference }) => reference), loading?.id]);
}

/**
 * The options that a model was loaded with; the defaults where it was not.
 *
 * @param {Status} status
 * @param {Row} row
 */
function optionsIn(status, row) {
  return status.loaded.find(({ reference }) => reference === row.reference)?.options ?? DEFAULTS;
}

/**
 * Draw a view of the widget; anywidget calls this for each place where it is shown.
 *
 * @param {{ model: Model, el: HTMLElement, signal?: AbortSignal }} view
 */
function render({ model, el, signal }) {
  const life = new AbortController();
  signal?.addEventListener("abort", () => life.abort());
  new Picker(model, el, life.signal);
  return () => life.abort();
}

export default { render };
