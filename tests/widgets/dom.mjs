// As much of a page as the picker needs, without a browser: elements that keep their text and tell their listeners.

/** @type {any} */
const page = globalThis;

/** An element. */
export class FakeElement {
  /** @type {any[]} */
  children = [];
  /** @type {Record<string, string>} */
  attributes = {};
  /** @type {Record<string, string>} */
  dataset = {};
  /** @type {Record<string, string>} */
  style = {};
  /** @type {Map<string, ((event: any) => void)[]>} */
  listeners = new Map();
  classList = { add: () => {}, toggle: () => {} };
  value = "";
  hidden = false;
  disabled = false;
  selectedIndex = 0;
  scrollTop = 0;
  clientHeight = 440;

  /** @param {string} tag */
  constructor(tag) {
    this.tag = tag;
  }

  get valueAsNumber() {
    return Number(this.value);
  }

  /** @returns {string} */
  get textContent() {
    return this.children.map((child) => (typeof child === "string" ? child : child.textContent)).join("");
  }

  set textContent(text) {
    this.children = [text];
  }

  /** @param {any[]} children */
  append(...children) {
    this.children.push(...children);
  }

  /** @param {any[]} children */
  replaceChildren(...children) {
    this.children = children;
  }

  /** @param {string} name @param {string} value */
  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  /** @param {string} name */
  removeAttribute(name) {
    delete this.attributes[name];
  }

  /** @param {string} kind @param {(event: any) => void} listener */
  addEventListener(kind, listener) {
    this.listeners.set(kind, [...(this.listeners.get(kind) ?? []), listener]);
  }

  /** Tell those that listen, as the browser would. @param {string} kind @param {object} event */
  tell(kind, event = {}) {
    const all = { preventDefault: () => {}, currentTarget: this, target: this, ...event };
    for (const listener of this.listeners.get(kind) ?? []) listener(all);
  }

  /** All elements below. @returns {FakeElement[]} */
  get below() {
    return this.children.filter((child) => child instanceof FakeElement).flatMap((child) => [child, ...child.below]);
  }

  /** @param {string} tags */
  querySelectorAll(tags) {
    return this.below.filter(({ tag }) => tags.split(", ").includes(tag));
  }

  /** The first with a class. @param {string} name @returns {any} */
  find(name) {
    return this.below.find(({ attributes }) => attributes["class"]?.split(" ").includes(name));
  }

  /** The button with a label. @param {string} label @returns {any} */
  button(label) {
    return this.below.find((other) => other.tag === "button" && other.textContent === label && !other.hidden);
  }
}

page.document = { createElement: (/** @type {string} */ tag) => new FakeElement(tag) };
page.Element = FakeElement;
page.ResizeObserver = class {
  observe() {}
  disconnect() {}
};
