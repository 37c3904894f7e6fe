/** What went wrong, in plain words, each with a way on; gone as soon as it is over. */

import { box, make, write } from "./dom.js";
import { ACTIONS, explain, retrying } from "./words.js";

/** @typedef {import("../realtime/problems.js").Problem} Problem */

/** Which words a success makes pointless. */
const OVER = {
  up: ["unreachable", "full", "loading", "lost", "expired", "restarted", "failed", "key-needed", "key-wrong"],
  microphone: ["microphone-refused", "microphone-missing", "microphone-busy", "microphone-lost"],
  camera: ["camera-refused", "camera-missing", "camera-busy", "camera-lost"],
  sound: ["sound-blocked"],
};

export class Notices {
  #box = box("notices");
  #act;
  /** @type {Map<string, HTMLElement>} by the problem's code, oldest first */
  #shown = new Map();
  #countdown = 0;

  /** @param {(action: import("./words.js").Action) => void} act what the buttons do */
  constructor(act) {
    this.#act = act;
  }

  /** @param {Problem} problem */
  show(problem) {
    const { code } = problem;
    this.drop(code);
    const { title, text, action } = explain(problem);
    const close = make("button", { type: "button", className: "quiet", onclick: () => this.drop(code) }, "Close");
    const act = () => {
      this.drop(code);
      if (action) this.#act(action);
    };
    const buttons = action ? [make("button", { type: "button", onclick: act }, ACTIONS[action]), close] : [close];
    this.#add(code, title, text, buttons);
  }

  /** The connection will be tried again by itself. @param {Problem} problem @param {number} ms */
  wait(problem, ms) {
    this.over("up");
    const { title, text } = explain(problem);
    const now = make("button", { type: "button", onclick: () => this.#act("now") }, ACTIONS.now);
    const until = performance.now() + ms;
    const left = make("span", {}); // outside the live region's changes: a countdown is not read out
    left.setAttribute("aria-hidden", "true");
    this.#add(problem.code, title, `${text} `, [now], left);
    const count = () => write(left, retrying(Math.ceil((until - performance.now()) / 1000)));
    count();
    this.#countdown = setInterval(count, 500);
  }

  /** All is well again with that. @param {keyof typeof OVER} what */
  over(what) {
    if (what === "up") clearInterval(this.#countdown);
    OVER[what].forEach((code) => this.drop(code));
  }

  /** @param {string} code */
  drop(code) {
    this.#shown.get(code)?.remove();
    this.#shown.delete(code);
  }

  /** @param {string} code @param {string} title @param {string} text @param {HTMLElement[]} buttons @param {...Node} more */
  #add(code, title, text, buttons, ...more) {
    const words = make("p", {}, make("strong", {}, title), make("span", {}, text), ...more);
    const notice = make("section", { className: "notice" }, words, make("div", {}, ...buttons));
    notice.dataset.code = code;
    this.#shown.set(code, notice);
    this.#box.append(notice);
  }
}
