/** The few things that every part of the page does with elements. */

/**
 * The element of that id. Throws TypeError where index.html has none of that kind.
 * @template {Element} T
 * @param {string} id @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (element instanceof kind) return element;
  throw new TypeError(`index.html has no ${kind.name} with the id ${id}`);
}

export const button = (/** @type {string} */ id) => byId(id, HTMLButtonElement);
export const box = (/** @type {string} */ id) => byId(id, HTMLElement);

/**
 * A new element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Partial<HTMLElementTagNameMap[T]>} properties @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Write only what has changed: screen readers and transitions notice every writing. @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show a symbol of icons.svg. @param {string} id of the <use> @param {string} symbol */
export function useIcon(id, symbol) {
  const use = byId(id, SVGUseElement);
  const href = `browser/page/icons.svg#${symbol}`;
  if (use.getAttribute("href") !== href) use.setAttribute("href", href);
}
