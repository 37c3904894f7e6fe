/**
 * A connection that is kept up: lost, it is made anew, after waits that grow.
 *
 * Events: `up` {session, again}, `event` {the server's event}, `waiting` {problem, ms} (it will be tried again by itself),
 * `down` {problem} (it won't).
 */

import { Problem } from "./problems.js";
import { Wire } from "./wire.js";

const FIRST_MS = 500;
const MOST_MS = 8_000;
const PING_MS = 5_000;

/** @param {number} attempt from 0 @param {number} chance 0..1 @returns {number} ms to wait, never twice the same: clients of one server must not come back all at once */
export const backOff = (attempt, chance) => Math.min(MOST_MS, FIRST_MS * 2 ** attempt) * (0.75 + 0.5 * chance);

export class Line extends EventTarget {
  #options;
  /** @type {Wire | null} */
  #wire = null;
  #end = new AbortController();
  #hurry = () => {};
  #again = false;

  /** @param {import("./wire.js").WireOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    const pinging = setInterval(() => this.#wire?.ping(), PING_MS);
    const online = () => this.hurry();
    addEventListener("online", online);
    this.#end.signal.addEventListener("abort", () => {
      clearInterval(pinging);
      removeEventListener("online", online);
    });
  }

  get up() {
    return this.#wire !== null;
  }

  /** ms; null: not known */
  get roundTripMs() {
    return this.#wire?.roundTripMs ?? null;
  }

  /** Bytes that have not left yet. */
  get waiting() {
    return this.#wire?.waiting ?? 0;
  }

  /** What is sent while there is no connection is lost. @param {import("./wire.js").WireEvent} event */
  send(event) {
    this.#wire?.send(event);
  }

  /** Connect, and go on until `close`. It has its say in events. @param {Problem} [lost] what there is to wait for first */
  async run(lost) {
    for (let attempt = 0, problem = lost; !this.#end.signal.aborted; attempt++) {
      if (problem) await this.#wait(problem, attempt - 1);
      try {
        return this.#start(await Wire.open(this.#options, this.#end.signal));
      } catch (error) {
        problem = error instanceof Problem ? error : new Problem("unreachable", String(error), { retry: true });
        if (!problem.retry) return this.#tell("down", { problem });
      }
    }
  }

  /** Don't wait any longer for the next attempt. */
  hurry() {
    this.#hurry();
  }

  close() {
    this.#end.abort();
    this.#wire?.close();
    this.#wire = null;
    this.#hurry();
  }

  /** @param {{wire: Wire, session: import("./wire.js").WireEvent}} opened */
  #start({ wire, session }) {
    if (this.#end.signal.aborted) return wire.close();
    this.#wire = wire;
    wire.addEventListener("event", (event) => this.#tell("event", /** @type {CustomEvent} */ (event).detail));
    wire.addEventListener("closed", (closed) => {
      this.#wire = null;
      this.run(/** @type {CustomEvent} */ (closed).detail);
    });
    this.#tell("up", { session, again: this.#again });
    this.#again = true;
    wire.ping();
  }

  /** @param {Problem} problem @param {number} attempt */
  async #wait(problem, attempt) {
    const ms = backOff(Math.max(0, attempt), Math.random());
    this.#tell("waiting", { problem, ms });
    await new Promise((/** @type {(_: void) => void} */ resolve) => {
      this.#hurry = resolve;
      setTimeout(resolve, ms);
    });
    this.#hurry = () => {};
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    if (!this.#end.signal.aborted) this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
