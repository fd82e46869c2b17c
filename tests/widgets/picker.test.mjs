import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { FakeElement } from "./dom.mjs";
import picker from "../../localllm_magics/widgets/picker.js";
import { DEFAULTS, NOTHING } from "../../localllm_magics/widgets/protocol.js";
import { planned, row } from "./fixtures.mjs";

const DEMO = row({ reference: "demo", name: "demo", context: 9000, layers: 39 });
const OTHER = row({ reference: "other", name: "other", context: 9000, layers: 39 });
/** @type {any} */
const { render } = picker;
const OPTIONS = { ...DEFAULTS, context: 1000 };

const LOADED = {
  ...NOTHING,
  current: "demo",
  loaded: [{ reference: "demo", memory: 5_000_000, device: "CPU", context: 1000, gpu_layers: 0, options: OPTIONS }],
};

/** A model of anywidget whose kernel answers when it is told to. */
class FakeModel {
  /** @type {any[]} */
  sent = [];
  /** @type {Map<string, ((message: unknown) => void)[]>} */
  listeners = new Map();
  /** @type {Record<string, unknown>} */
  state = { _address: "here", _models: [DEMO, OTHER], _status: { ...NOTHING }, value: null };

  /** @type {any} */
  slot = null;
  widget_manager = { kernel: { statusChanged: { connect: (/** @type {any} */ slot) => (this.slot = slot), disconnect: () => {} } } };

  get = (/** @type {string} */ name) => this.state[name];
  save_changes = () => {};
  send = (/** @type {unknown} */ message) => this.sent.push(message);
  off = () => {};
  on = (/** @type {string} */ event, /** @type {(message: unknown) => void} */ listener) =>
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);

  /** @param {string} name @param {unknown} value */
  set = (name, value) => {
    this.state[name] = value;
    this.#tell(`change:${name}`, value);
  };

  /** Answer a command of a kind, the last one. @param {string} kind @param {object} answer */
  async answer(kind, answer) {
    const { id, options = [] } = this.sent.findLast((command) => command.kind === kind);
    const plans = Array.isArray(options) ? options.map((each) => planned(stripped(each))) : [];
    this.#tell("msg:custom", { kind: "done", id, notices: [], plans, ...answer });
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  }

  /** @param {string} event @param {unknown} message */
  #tell(event, message) {
    for (const listener of this.listeners.get(event) ?? []) listener(message);
  }
}

/** @param {object} options */
function stripped(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null));
}

/** A picker in a page. @param {object} state */
function shown(state = {}) {
  mock.timers.enable({ apis: ["setTimeout"] });
  const model = new FakeModel();
  Object.assign(model.state, state);
  const el = new FakeElement("div");
  /** @type {any} */
  const view = { model, el };
  const end = render(view);
  const filter = el.find("llm-filter");
  const context = el.below.find((other) => other.attributes["aria-label"] === "Context");
  const type = (/** @type {string} */ text) => {
    filter.value = text;
    filter.tell("input");
  };
  const enter = () => filter.tell("keydown", { key: "Enter" });
  const move = (/** @type {number} */ stop) => {
    if (!context) throw new Error("there is no slider");
    context.value = String(stop);
    context.tell("input");
  };
  return { model, el, type, enter, move, end, loads: () => model.sent.filter(({ kind }) => kind === "load") };
}

test.afterEach(() => mock.timers.reset());

test("Enter chooses the first model of a filter before it loads one", () => {
  const { model, type, enter, loads } = shown({ value: "demo" });
  type("other");
  enter();
  assert.equal(model.state["value"], "other");
  assert.deepEqual(loads(), []);
  enter();

  assert.deepEqual(loads().map(({ reference }) => reference), ["other"]);
});

test("Enter does nothing where the filter leaves no model", () => {
  const { model, type, enter, loads } = shown({ value: "demo" });
  type("nonsense");
  enter();

  assert.equal(model.state["value"], "demo");
  assert.deepEqual(loads(), []);
});

test("a list that comes by itself keeps the settings", async () => {
  const { model, move, enter, loads } = shown({ value: "demo" });
  await model.answer("plan", {});
  move(2);
  enter();
  await model.answer("load", { kind: "failed", message: "demo needs 40 GB.", hint: "", can_force: true });
  model.set("_models", [{ ...DEMO, size: 5 }, OTHER]);
  await model.answer("plan", {});
  enter();

  assert.deepEqual(loads().map(({ options }) => options), [OPTIONS, OPTIONS]);
});

test("a list that comes by itself leaves a message where it is", async () => {
  const { model, el, enter } = shown({ value: "demo" });
  enter();
  await model.answer("load", { kind: "failed", message: "demo needs 40 GB.", hint: "", can_force: true });
  model.set("_models", [{ ...DEMO, size: 5 }, OTHER]);

  assert.equal(el.find("llm-state").textContent, "demo needs 40 GB.");
});

test("a slider that is moved before the first plan stays where it is", async () => {
  const { model, move, enter, loads } = shown({ value: "demo" });
  move(2);
  await model.answer("plan", {});
  enter();

  assert.deepEqual(loads()[0].options, { ...OPTIONS, context: 1024 });
});

test("a value of None or of a model that is not there shows nothing as chosen", () => {
  for (const value of [null, "gone"]) {
    const { model, el } = shown({ value: "demo" });
    assert.equal(el.find("llm-content").hidden, false);
    model.set("value", value);

    assert.equal(el.find("llm-content").hidden, true);
    mock.timers.reset();
  }
});

test("a model that was deleted cannot be loaded any more", async () => {
  const { model, el } = shown({ value: "demo" });
  model.set("_models", [OTHER]);
  await model.answer("plan", { kind: "failed", message: "demo is gone.", hint: "", can_force: false });

  assert.equal(el.find("llm-content").hidden, true);
});

test("after a restart nothing is claimed and nothing can be pressed", () => {
  const { model, el, enter, loads } = shown({ value: "demo", _status: LOADED });
  model.slot(null, "restarting");
  enter();

  assert.equal(el.find("llm-state").textContent, "The kernel was restarted: run the cell again.");
  assert.equal(el.find("llm-mark"), undefined);
  assert.ok(el.querySelectorAll("button, input, select").every(({ attributes }) => "disabled" in attributes));
  assert.deepEqual(loads(), []);
});

test("a model that is loaded shows how, and is loaded again only in another way", async () => {
  const { model, el, move } = shown({ value: "demo", _status: { ...LOADED, devices: ["CUDA0"] } });
  await model.answer("plan", {});

  assert.equal(el.find("llm-loaded").textContent, "Loaded with 1,000 tokens of context and 0 layers on the GPU.");
  assert.equal(el.button("Loaded").disabled, true);
  assert.equal(el.button("Defaults").disabled, false);
  move(0);
  assert.equal(el.button("Load again").disabled, false);
});

test("a model that a cell loads shows its options, but not in the place of those that were set", async () => {
  const { model, el, move } = shown({ value: "demo" });
  await model.answer("plan", {});
  model.set("_status", LOADED);
  assert.equal(el.button("Loaded").disabled, true);
  move(0);
  model.set("_status", NOTHING);
  model.set("_status", LOADED);

  assert.notEqual(el.button("Load again"), undefined);
});

test("a message ends when something else is so", async () => {
  const { model, el } = shown({ value: "demo", _status: LOADED });
  const state = el.find("llm-state");
  assert.equal(state.textContent, "demo (CPU, 5.0 MB) answers %%llm cells.");
  el.button("Unload").tell("click");
  model.set("_status", NOTHING);
  await model.answer("unload", { notices: ["Unloaded demo."] });
  model.set("_status", { ...NOTHING, activity: "Measuring" });
  assert.equal(state.textContent, "Unloaded demo.");
  model.set("_status", LOADED);

  assert.equal(state.textContent, "demo (CPU, 5.0 MB) answers %%llm cells.");
});

test("models can be looked for while the machine is measured", async () => {
  const { model, el } = shown({ _status: { ...NOTHING, activity: "Measuring" } });
  assert.equal(el.button("Rescan").disabled, false);
  el.button("Rescan").tell("click");
  assert.equal(el.button("Rescan").disabled, true);
  await model.answer("rescan", {});

  assert.equal(el.button("Rescan").disabled, false);
});
