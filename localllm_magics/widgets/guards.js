// Checks of what comes over the wire, from which its types follow.

/**
 * @template T
 * @typedef {(value: unknown) => value is T} Guard
 */

/**
 * @template G
 * @typedef {G extends Guard<infer T> ? T : never} Guarded
 */

/**
 * @param {unknown} value
 * @returns {value is string}
 */
export function isText(value) {
  return typeof value === "string";
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * @param {unknown} value
 * @returns {value is boolean}
 */
export function isFlag(value) {
  return typeof value === "boolean";
}

/**
 * @template T
 * @param {Guard<T>} guard
 * @returns {Guard<T | null>}
 */
export function orNull(guard) {
  /** @type {Guard<T | null>} */
  const isIt = (value) => value === null || guard(value);
  return isIt;
}

/**
 * @template {string} T
 * @param {readonly T[]} words
 * @returns {Guard<T>}
 */
export function oneOf(...words) {
  /** @type {ReadonlySet<unknown>} */
  const known = new Set(words);
  /** @type {Guard<T>} */
  const isIt = /** @returns {value is T} */ (/** @type {unknown} */ value) => known.has(value);
  return isIt;
}

/**
 * @template T
 * @param {Guard<T>} guard
 * @returns {Guard<T[]>}
 */
export function listOf(guard) {
  /** @type {Guard<T[]>} */
  const isIt = /** @returns {value is T[]} */ (/** @type {unknown} */ value) => Array.isArray(value) && value.every(guard);
  return isIt;
}

/**
 * An object with these fields, and perhaps others.
 *
 * @template {Record<string, Guard<unknown>>} F
 * @param {F} fields
 * @returns {Guard<{ [K in keyof F]: Guarded<F[K]> }>}
 */
export function record(fields) {
  const entries = Object.entries(fields);
  /**
   * @param {unknown} value
   * @returns {value is { [K in keyof F]: Guarded<F[K]> }}
   */
  function isIt(value) {
    if (typeof value !== "object" || value === null) return false;
    const given = new Map(Object.entries(value));
    return entries.every(([name, guard]) => guard(given.get(name)));
  }
  return isIt;
}
