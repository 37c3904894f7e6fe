/**
 * One connection: JSON events over one WebSocket, from `session.created` to its close.
 *
 * Events: `event` {the server's event}, `closed` {problem}. It never comes back: `Line` opens the next one.
 */

import { Problem, closeProblem, openProblem } from "./problems.js";

const OPEN_MS = 15_000; // a server that is there has answered by then
const PING = "omni_ping"; // no item has this id
const DEAD_MS = 15_000; // without an answer to a ping

/**
 * @typedef {Record<string, any> & {type: string}} WireEvent
 * @typedef {{url: string | URL, key?: string, model?: string}} WireOptions
 */

export class Wire extends EventTarget {
  #socket;
  #open = false;
  #pings = 0;
  #pinged = 0; // ms, when; 0: no answer is awaited
  /** ms that a question and its answer take; null: not known yet */
  roundTripMs = /** @type {number | null} */ (null);

  /** @param {WebSocket} socket */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", ({ code, reason }) => this.#close(closeProblem(code, reason)));
  }

  /**
   * Connect. Throws Problem.
   * @param {WireOptions} options @param {AbortSignal} signal
   * @returns {Promise<{wire: Wire, session: WireEvent}>}
   */
  static async open({ url, key = "", model }, signal) {
    const address = new URL(url);
    address.searchParams.set("extensions", "omni");
    if (model) address.searchParams.set("model", model);
    let socket;
    try {
      socket = new WebSocket(address, key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"]);
    } catch (error) {
      throw key ? new Problem("key-wrong", `a browser can't send this key: ${error}`) : new Problem("unreachable", String(error));
    }
    const wire = new Wire(socket);
    const end = AbortSignal.any([signal, AbortSignal.timeout(OPEN_MS)]);
    try {
      return { wire, session: await wire.#opened(end) };
    } catch (problem) {
      socket.close();
      throw problem instanceof Problem && problem.code === "lost" ? await openProblem(address, key) : problem;
    }
  }

  /** @param {AbortSignal} end @returns {Promise<WireEvent>} */
  #opened(end) {
    return new Promise((resolve, reject) => {
      this.addEventListener("event", (created) => resolve(/** @type {CustomEvent} */ (created).detail.session), { once: true });
      this.addEventListener("closed", (closed) => reject(/** @type {CustomEvent} */ (closed).detail), { once: true });
      end.addEventListener("abort", () => reject(new Problem("unreachable", "no answer in time", { retry: true })), { once: true });
      this.#open = true;
    });
  }

  /** Bytes that have not left yet. */
  get waiting() {
    return this.#socket.bufferedAmount;
  }

  /** @param {WireEvent} event */
  send(event) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
  }

  /** How long does an answer take? The protocol has no ping: asking for an item that is not there changes nothing and is answered at once. */
  ping() {
    if (this.#pinged && performance.now() - this.#pinged > DEAD_MS) return this.#close(new Problem("lost", "no answer to a ping", { retry: true }));
    if (this.#pinged) return;
    this.#pinged = performance.now();
    this.send({ type: "conversation.item.retrieve", item_id: PING, event_id: `${PING}_${++this.#pings}` });
  }

  /** Not to be heard of again. */
  close() {
    this.#open = false;
    this.#socket.close(1000);
  }

  /** @param {WireEvent} event */
  #take(event) {
    if (!this.#open) return;
    if (event.type === "error" && event.error.event_id === `${PING}_${this.#pings}`) {
      this.roundTripMs = performance.now() - this.#pinged;
      this.#pinged = 0;
      return;
    }
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
  }

  /** @param {Problem} problem */
  #close(problem) {
    if (!this.#open) return;
    this.close();
    this.dispatchEvent(new CustomEvent("closed", { detail: problem }));
  }
}
