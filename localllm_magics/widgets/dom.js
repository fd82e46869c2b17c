// Elements of the page; whatever text they get is shown as text.

/**
 * For what takes the keyboard's focus: its keys are not those of the notebook, where B adds a cell and D D deletes one.
 * JupyterLab looks at the element itself before its parents, so it is set on each.
 */
export const KEYS = { "data-lm-suppress-shortcuts": "true" };

const FOCUSABLE = new Set(["button", "input", "select"]);

/**
 * An element with attributes and children.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Readonly<Record<string, string | number | boolean>>} attributes  `true` sets one without a value, `false` none.
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  /** @type {typeof attributes} */
  const all = FOCUSABLE.has(tag) ? { ...KEYS, ...attributes } : attributes;
  for (const [name, value] of Object.entries(all)) {
    if (value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * A button that does something.
 *
 * @param {string} label
 * @param {() => void} action
 * @param {AbortSignal} signal
 */
export function button(label, action, signal) {
  const made = element("button", { type: "button", class: "llm-button" }, label);
  made.addEventListener("click", action, { signal });
  return made;
}

/**
 * Give an element another text, unless it has it: a screen reader reads what changes.
 *
 * @param {Element} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
