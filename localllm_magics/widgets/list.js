// The list of models, of which only the visible rows are in the page.

import { KEYS, element } from "./dom.js";
import { toBadge, toCount, toSize, toSource, toSpeed } from "./format.js";

/** @typedef {import("./protocol.js").Row} Row */
/** @typedef {"current" | "loaded" | ""} Mark */

const HEIGHT = 44; // pixels of a row, as in picker.css
const MARGIN = 4; // rows above and below the visible ones

/** @type {Readonly<Record<string, (index: number, page: number, last: number) => number>>} */
const MOVES = {
  ArrowDown: (index) => index + 1,
  ArrowUp: (index) => index - 1,
  PageDown: (index, page) => index + page,
  PageUp: (index, page) => index - page,
  Home: () => 0,
  End: (_index, _page, last) => last,
};

/** A listbox; whoever has the keyboard's focus, the list or the filter, hands its keys on with `press`. */
export class List {
  root = element("div", { class: "llm-list", role: "listbox", tabindex: 0, "aria-label": "Models", ...KEYS });
  #sizer = element("div", { class: "llm-sizer", role: "presentation" });
  #empty = element("div", { class: "llm-empty" });
  /** @type {string} */
  #id;
  /** @type {readonly Row[]} */
  #rows = [];
  #index = -1;
  /** @type {(row: Row) => Mark} */
  #markOf;
  /** @type {(row: Row) => void} */
  #onSelect;
  /** @type {() => void} */
  #onDrawn;

  /**
   * @param {object} settings
   * @param {string} settings.id  A prefix for ids.
   * @param {(row: Row) => Mark} settings.markOf  Whether a model is loaded.
   * @param {(row: Row) => void} settings.onSelect  Called when the user has chosen.
   * @param {() => void} settings.onDrawn  Called when another row may be the active one.
   * @param {AbortSignal} settings.signal
   */
  constructor({ id, markOf, onSelect, onDrawn, signal }) {
    this.#id = id;
    this.#markOf = markOf;
    this.#onSelect = onSelect;
    this.#onDrawn = onDrawn;
    this.root.id = `${id}-list`;
    this.root.append(this.#sizer, this.#empty);
    this.root.addEventListener("scroll", () => this.draw(), { signal });
    this.root.addEventListener("keydown", (event) => this.press(event), { signal });
    this.root.addEventListener("click", (event) => this.#click(event), { signal });
    const seen = new ResizeObserver(() => this.draw());
    seen.observe(this.root);
    signal.addEventListener("abort", () => seen.disconnect());
  }

  /** The id of the active row's element; empty if there is none. */
  get activeId() {
    return this.#index < 0 ? "" : this.#idOf(this.#index);
  }

  /**
   * Show these rows; the active one stays active where it is among them.
   *
   * @param {readonly Row[]} rows
   * @param {string | null} active  A reference.
   * @param {string} ifEmpty  What to say where there are none.
   */
  show(rows, active, ifEmpty) {
    this.#rows = rows;
    this.#index = rows.findIndex((row) => row.reference === active);
    this.#sizer.style.height = `${rows.length * HEIGHT}px`;
    this.#empty.textContent = rows.length ? "" : ifEmpty;
    this.draw();
  }

  /** Bring the active row into view. */
  reveal() {
    const top = this.#index * HEIGHT;
    const { scrollTop, clientHeight } = this.root;
    if (this.#index < 0) return;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top + HEIGHT > scrollTop + clientHeight) this.root.scrollTop = top + HEIGHT - clientHeight;
  }

  /**
   * Move as the key of an event says.
   *
   * @param {KeyboardEvent} event
   */
  press(event) {
    const move = MOVES[event.key];
    const isTyping = event.currentTarget !== this.root && (event.key === "Home" || event.key === "End");
    if (!move || isTyping || event.ctrlKey || event.metaKey || event.altKey || !this.#rows.length) return;
    event.preventDefault();
    const page = Math.max(1, Math.floor(this.root.clientHeight / HEIGHT) - 1);
    const last = this.#rows.length - 1;
    this.#select(Math.min(last, Math.max(0, move(this.#index, page, last))));
  }

  /** Whether a row is active; where none is, the first one becomes it. */
  enter() {
    const isActive = this.#index >= 0;
    if (!isActive) this.#select(0);
    return isActive;
  }

  /** Draw the visible rows, and the active one, which a screen reader reads. */
  draw() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / HEIGHT) - MARGIN);
    const end = Math.min(this.#rows.length, first + Math.ceil(this.root.clientHeight / HEIGHT) + 2 * MARGIN);
    const shown = new Set(Array.from({ length: Math.max(0, end - first) }, (_, offset) => first + offset));
    if (this.#index >= 0) shown.add(this.#index);
    this.#sizer.replaceChildren(...[...shown].sort((a, b) => a - b).flatMap((index) => this.#option(index)));
    if (this.activeId) this.root.setAttribute("aria-activedescendant", this.activeId);
    else this.root.removeAttribute("aria-activedescendant");
    this.#onDrawn();
  }

  /** @param {number} index */
  #option(index) {
    const row = this.#rows[index];
    if (!row) return [];
    const option = element("div", {
      class: "llm-option",
      role: "option",
      id: this.#idOf(index),
      "aria-selected": String(index === this.#index),
      "aria-posinset": index + 1,
      "aria-setsize": this.#rows.length,
      "data-index": index,
    });
    option.style.top = `${index * HEIGHT}px`;
    option.append(...cells(row, this.#markOf(row)));
    return [option];
  }

  /** @param {number} index */
  #select(index) {
    const row = this.#rows[index];
    if (!row) return;
    this.#index = index;
    this.reveal();
    this.draw();
    this.#onSelect(row);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const option = event.target instanceof Element ? event.target.closest("[data-index]") : null;
    if (option) this.#select(Number(option.getAttribute("data-index")));
  }

  /** @param {number} index */
  #idOf(index) {
    return `${this.#id}-option-${index}`;
  }
}

/**
 * The cells of a row.
 *
 * @param {Row} row
 * @param {Mark} mark
 */
function cells(row, mark) {
  const { verdict, text, numbers } = toBadge(row);
  const parameters = row.parameters === null ? "" : toCount(row.parameters);
  const facts = [parameters, row.quantization, toSource(row.source)].filter(Boolean).join(" · ");
  const name = element("span", { class: "llm-name", title: row.name }, row.name);
  const reference =
    row.reference === row.name ? [] : [element("span", { class: "llm-reference", title: row.reference }, row.reference)];
  const marked = mark ? [element("span", { class: "llm-mark" }, mark)] : [];
  const badge = [text, numbers].filter(Boolean).join(" · ");
  return [
    element("span", { class: "llm-heading" }, name, ...reference, ...marked),
    element("span", { class: "llm-size" }, row.size === null ? "" : toSize(row.size)),
    element("span", { class: "llm-facts", title: facts }, facts),
    element("span", { class: "llm-badge", "data-verdict": verdict, title: badge }, badge),
    element("span", { class: "llm-speed" }, toSpeed(row.speed)),
  ];
}
