import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Kernel } from "../../localllm_magics/widgets/kernel.js";

/** A signal of JupyterLab. */
class FakeSignal {
  /** @type {Set<(sender: unknown, status: string) => void>} */
  slots = new Set();
  connect = (/** @type {(sender: unknown, status: string) => void} */ slot) => this.slots.add(slot);
  disconnect = (/** @type {(sender: unknown, status: string) => void} */ slot) => this.slots.delete(slot);

  /** @param {string} status */
  emit(status) {
    for (const slot of this.slots) slot(this, status);
  }
}

/** A model of anywidget that keeps what is sent, with a kernel or without. */
class FakeModel {
  /** @type {any[]} */
  sent = [];
  isClosed = false;
  status = new FakeSignal();
  /** @type {Map<string, (message: unknown) => void>} */
  listeners = new Map();
  /** @type {{ kernel?: import("../../localllm_magics/widgets/kernel.js").Connection }} */
  widget_manager;

  /** @param {boolean} hasKernel */
  constructor(hasKernel) {
    const comm = { open: () => {}, send: (/** @type {object} */ data) => this.sent.push(data), close: () => (this.isClosed = true) };
    this.widget_manager = hasKernel ? { kernel: { createComm: () => comm, status: "idle", statusChanged: this.status } } : {};
  }

  get = () => null;
  set = () => {};
  save_changes = () => {};
  send = (/** @type {unknown} */ message) => this.sent.push(message);
  on = (/** @type {string} */ event, /** @type {(message: unknown) => void} */ listener) => this.listeners.set(event, listener);
  off = (/** @type {string} */ event) => this.listeners.delete(event);

  /** @param {object} message */
  answer(message) {
    this.listeners.get("msg:custom")?.(message);
  }
}

/** @param {boolean} hasKernel */
function started(hasKernel) {
  const model = new FakeModel(hasKernel);
  const life = new AbortController();
  /** @type {boolean[]} */
  const busy = [];
  /** @type {string[]} */
  const lost = [];
  const listener = { onBusy: (/** @type {boolean} */ isBusy) => busy.push(isBusy), onLost: () => lost.push("lost") };
  const kernel = new Kernel(model, "here", listener, life.signal);
  return { model, kernel, busy, lost, life };
}

test("a command goes over a comm of its own, and its end comes back", async () => {
  const { model, kernel } = started(true);
  const { id, ending } = kernel.send({ kind: "rescan" });
  model.answer({ kind: "accepted", id });
  model.answer({ kind: "done", id: "of another page", notices: [], plans: [] });
  model.answer({ kind: "nonsense", id });
  model.answer({ kind: "cancelled", id });

  assert.deepEqual(model.sent, [{ to: "here", command: { kind: "rescan", id } }]);
  assert.deepEqual(await ending, { kind: "cancelled", id });
});

test("without a kernel in reach a command is a message of the widget", () => {
  const { model, kernel } = started(false);
  const { id } = kernel.send({ kind: "rescan" });

  assert.deepEqual(model.sent, [{ kind: "rescan", id }]);
});

test("an idle kernel is known to be", () => {
  assert.equal(started(true).kernel.isIdle, true);
  assert.equal(started(false).kernel.isIdle, false);
});

test("no two commands have the same id", () => {
  const { kernel } = started(true);
  assert.notEqual(kernel.send({ kind: "rescan" }).id, kernel.send({ kind: "rescan" }).id);
});

test("a kernel that does not answer is busy until it has answered all", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { model, kernel, busy } = started(true);
    const [first, second] = [kernel.send({ kind: "rescan" }), kernel.send({ kind: "rescan" })];
    mock.timers.tick(700);
    model.answer({ kind: "accepted", id: first.id });
    assert.deepEqual(busy, [true]);
    model.answer({ kind: "accepted", id: second.id });
    assert.deepEqual(busy, [true, false]);
  } finally {
    mock.timers.reset();
  }
});

test("a kernel that answers at once is not busy", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { model, kernel, busy } = started(true);
    model.answer({ kind: "accepted", id: kernel.send({ kind: "rescan" }).id });
    mock.timers.tick(7000);
    assert.deepEqual(busy, []);
  } finally {
    mock.timers.reset();
  }
});

test("a view that is gone leaves nothing behind", () => {
  const { model, life } = started(true);
  life.abort();

  assert.equal(model.isClosed, true);
  assert.equal(model.listeners.size, 0);
  assert.equal(model.status.slots.size, 0);
});

test("a kernel that was restarted ends all commands, and is told nothing more", async () => {
  const { model, kernel, lost, life } = started(true);
  model.status.emit("busy");
  const { id, ending } = kernel.send({ kind: "rescan" });
  model.status.emit("restarting");
  model.status.emit("dead");
  const later = kernel.send({ kind: "rescan" });
  life.abort();

  assert.deepEqual(await ending, { kind: "cancelled", id });
  assert.deepEqual(await later.ending, { kind: "cancelled", id: later.id });
  assert.deepEqual(lost, ["lost"]);
  assert.equal(model.sent.length, 1);
  assert.equal(model.isClosed, false);
});
