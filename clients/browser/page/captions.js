/** <omni-captions>: both sides of the conversation as it goes, with what was not heard struck through. */

import { make, write } from "./dom.js";
import { NOTES } from "./words.js";

/** @typedef {import("../realtime/conversation.js").Item} Item */

const NEAR_PX = 80; // of the end: who has scrolled further up is reading

export class Captions extends HTMLElement {
  /** @type {Map<string, HTMLElement>} by item id */
  #rows = new Map();

  /** @param {Item[]} items */
  show(items) {
    const follows = this.scrollHeight - this.scrollTop - this.clientHeight < NEAR_PX;
    const shown = new Set(items.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (shown.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const item of items) this.#show(item);
    if (follows) this.scrollTo({ top: this.scrollHeight });
  }

  /** @param {Item} item */
  #show(item) {
    let row = this.#rows.get(item.id);
    if (!row) {
      row = item.role === "note" ? make("p", { className: "note" }, NOTES[item.text]) : begin(item);
      this.#rows.set(item.id, row);
      this.append(row);
    }
    if (item.role !== "note") update(row, item);
  }
}

/** @param {Item} item */
function begin(item) {
  const who = make("span", { className: "who" }, item.role === "user" ? "You" : "Omni");
  const row = make("article", { className: item.role }, who);
  if (item.picture) row.append(make("img", { src: item.picture, alt: "The picture you showed" }));
  row.append(make("p", {}, make("span", { className: "said" }), make("del")));
  row.dataset.item = item.id;
  return row;
}

/** @param {HTMLElement} row @param {Item} item */
function update(row, item) {
  const [said, unheard] = /** @type {[Element, Element]} */ ([...(row.querySelector("p")?.children ?? [])]);
  const words = item.heard ?? item.text;
  const lost = item.heard === null ? "" : item.text.slice(item.heard.length).trimStart();
  write(said, lost && words ? `${words.trimEnd()} ` : words || (item.open || lost ? "" : placeholder(item)));
  write(unheard, lost);
  row.ariaBusy = String(item.open);
  row.classList.toggle("open", item.open && !words);
  row.classList.toggle("wordless", !item.open && !item.text);
  row.querySelector("p")?.toggleAttribute("hidden", item.picture !== null && !item.text);
  if (item.failure && !row.querySelector(".failure")) row.append(make("p", { className: "failure" }, `No answer: ${item.failure}`));
}

/** @param {Item} item */
function placeholder(item) {
  if (item.role === "user") return "(spoken)";
  return item.failure ? "" : "(nothing was said)";
}

customElements.define("omni-captions", Captions);
