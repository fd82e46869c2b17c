// The way to the kernel: commands, each with its answers.

import { toAnswer } from "./protocol.js";

/** @typedef {import("./protocol.js").Wish} Wish */
/** @typedef {import("./protocol.js").Ending} Ending */

/**
 * What this module needs of anywidget's model.
 *
 * @typedef {object} Model
 * @property {(name: string) => unknown} get
 * @property {(name: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(message: unknown) => void} send
 * @property {(event: string, callback: (message: unknown) => void) => void} on
 * @property {(event: string, callback: (message: unknown) => void) => void} off
 * @property {{ kernel?: Connection }} [widget_manager]
 */

/**
 * What it needs of JupyterLab's connection to a kernel.
 *
 * @typedef {object} Connection
 * @property {(target: string) => Comm} createComm
 * @property {string} [status]
 * @property {Signal} [statusChanged]
 * @property {Signal} [connectionStatusChanged]
 */

/**
 * @typedef {object} Signal
 * @property {(slot: Slot) => unknown} connect
 * @property {(slot: Slot) => unknown} disconnect
 */

/** @typedef {(sender: unknown, status: string) => void} Slot */

/**
 * @typedef {object} Comm
 * @property {() => unknown} open
 * @property {(data: object) => unknown} send
 * @property {() => unknown} close
 * @property {boolean} [isDisposed]
 */

/**
 * @typedef {object} Listener
 * @property {(isBusy: boolean) => void} onBusy  Called when commands begin or cease to wait for the kernel.
 * @property {() => void} onLost  Called once, when the kernel that the widget belongs to has ended.
 */

/**
 * @typedef {object} Waiting
 * @property {(answer: Ending) => void} end
 * @property {ReturnType<typeof setTimeout>} timer
 */

const TARGET = "localllm.picker";
const PATIENCE = 700; // milliseconds after which a kernel that has not answered is busy
const ENDS = new Set(["restarting", "autorestarting", "terminating", "dead", "disconnected"]);

/** Sends commands and hands their answers back. */
export class Kernel {
  /** @type {Model} */
  #model;
  /** @type {string} */
  #address;
  /** @type {Comm | null} */
  #comm;
  /** @type {Map<string, Waiting>} */
  #waiting = new Map();
  /** @type {Set<string>} */
  #late = new Set();
  /** @type {Listener} */
  #listener;
  #isLost = false;

  /**
   * @param {Model} model
   * @param {string} address  Which widget the commands are for.
   * @param {Listener} listener
   * @param {AbortSignal} signal
   */
  constructor(model, address, listener, signal) {
    this.#model = model;
    this.#address = address;
    this.#listener = listener;
    const connection = model.widget_manager?.kernel;
    this.#comm = opened(connection);
    const take = (/** @type {unknown} */ message) => this.#take(message);
    const follow = (/** @type {unknown} */ _sender, /** @type {string} */ status) => this.#follow(status);
    const signals = [connection?.statusChanged, connection?.connectionStatusChanged];
    for (const each of signals) each?.connect(follow);
    model.on("msg:custom", take);
    signal.addEventListener("abort", () => {
      model.off("msg:custom", take);
      for (const each of signals) each?.disconnect(follow);
      if (!this.#isLost && !this.#comm?.isDisposed) this.#comm?.close();
      for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    });
  }

  /** Whether the front end says that the kernel has nothing to do. */
  get isIdle() {
    return this.#model.widget_manager?.kernel?.status === "idle";
  }

  /**
   * Send a command; its id and the answer that ends it. One to a kernel that has ended is cancelled.
   *
   * @param {Wish} command
   * @returns {{ id: string, ending: Promise<Ending> }}
   */
  send(command) {
    const id = newId();
    if (this.#isLost || this.#comm?.isDisposed) return { id, ending: Promise.resolve({ kind: "cancelled", id }) };
    const message = { ...command, id };
    /** @type {Promise<Ending>} */
    const ending = new Promise((end) => {
      this.#waiting.set(id, { end, timer: setTimeout(() => this.#setLate(id, true), PATIENCE) });
    });
    if (this.#comm) this.#comm.send({ to: this.#address, command: message });
    else this.#model.send(message);
    return { id, ending };
  }

  /** @param {unknown} message */
  #take(message) {
    const answer = toAnswer(message);
    const waiting = answer && this.#waiting.get(answer.id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#setLate(answer.id, false);
    if (answer.kind === "accepted") return;
    this.#waiting.delete(answer.id);
    waiting.end(answer);
  }

  /**
   * A kernel that has ended answers nothing, and neither does the one after it: it does not know the widget.
   *
   * @param {string} status
   */
  #follow(status) {
    if (this.#isLost || !ENDS.has(status)) return;
    this.#isLost = true;
    for (const [id, { end, timer }] of this.#waiting) {
      clearTimeout(timer);
      end({ kind: "cancelled", id });
    }
    this.#waiting.clear();
    this.#listener.onLost();
  }

  /**
   * @param {string} id
   * @param {boolean} isLate
   */
  #setLate(id, isLate) {
    const was = this.#late.size > 0;
    if (isLate) this.#late.add(id);
    else this.#late.delete(id);
    if (was !== this.#late.size > 0) this.#listener.onBusy(!was);
  }
}

/**
 * A comm that the kernel never sends on: ipykernel handles its messages while a cell runs.
 *
 * @param {Connection | undefined} connection
 */
function opened(connection) {
  const comm = connection?.createComm?.(TARGET) ?? null;
  comm?.open();
  return comm;
}

/** An id that no other page has. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
