/**
 * The loudspeaker: plays items in order, knows to the sample how much of each was heard, and falls silent at once.
 *
 * Events: `started` and `ended` {item, samples, at}, `progress` {pcm, at, current: {item, samples} | null, buffered, target, underruns};
 * at: ms of the page's clock.
 */

import { Clock } from "./clock.js";
import { checkSecure } from "./problems.js";
import { RATE } from "./pcm.js";

const REPLY_MS = 500; // an audio thread that has not answered by then is suspended
const CUT_KEPT = 16; // items that were cut short, whose late audio is thrown away

/** @typedef {import("./jitter.js").Heard} Heard */

export class Speaker extends EventTarget {
  #context;
  #node;
  #clock = new Clock();
  #orders = 0;
  /** @type {Map<number, (heard: Heard[]) => void>} */
  #clearing = new Map();
  /** @type {Map<string, number>} items not heard to their end -> samples heard, as far as is known */
  #sounding = new Map();
  /** @type {string[]} */
  #cut = [];
  /** for drawing, and for whoever wants to tap the voice */
  analyser;

  /** @param {AudioContext} context at 24 kHz, with the worklet */
  constructor(context) {
    super();
    this.#context = context;
    this.analyser = new AnalyserNode(context, { fftSize: 512 });
    this.#node = new AudioWorkletNode(context, "omni-playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#node.port.onmessage = ({ data }) => this.#report(data);
    this.#node.connect(this.analyser).connect(context.destination);
  }

  /** Get ready to play; call it from a click, or the browser may keep it silent. Throws Problem. */
  static async open() {
    checkSecure();
    const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    await context.audioWorklet.addModule(new URL("worklets/playback.js", import.meta.url));
    return new Speaker(context);
  }

  /** Whether sound can be heard: browsers suspend pages that nobody has clicked on, and phones pages in the background. */
  get running() {
    return this.#context.state === "running";
  }

  /** ms between a sample's leaving and its being heard */
  get latencyMs() {
    return 1000 * (this.#context.baseLatency + (this.#context.outputLatency || 0));
  }

  /** Something waits to be heard, or is. */
  get busy() {
    return this.#sounding.size > 0;
  }

  async resume() {
    await this.#context.resume();
  }

  /** @param {string} deviceId "" is the usual one */
  async use(deviceId) {
    if ("setSinkId" in this.#context) await /** @type {any} */ (this.#context).setSinkId(deviceId);
  }

  /** @param {string} item @param {Int16Array<ArrayBuffer>} pcm it is given away */
  push(item, pcm) {
    if (this.#cut.includes(item)) return;
    if (!this.#sounding.has(item)) this.#sounding.set(item, 0);
    this.#node.port.postMessage({ type: "push", item, pcm }, [pcm.buffer]);
  }

  /** @param {string} item */
  end(item) {
    this.#node.port.postMessage({ type: "end", item });
  }

  /** No more of anything will come. */
  endAll() {
    this.#node.port.postMessage({ type: "endAll" });
  }

  /** Fall silent; what still comes of the same items is not played. @returns {Promise<Heard[]>} how much was heard of each */
  async clear() {
    const known = [...this.#sounding].map(([item, samples]) => ({ item, samples }));
    this.#cut = [...this.#cut, ...this.#sounding.keys()].slice(-CUT_KEPT);
    this.#sounding.clear();
    const id = ++this.#orders;
    const heard = await new Promise((/** @type {(heard: Heard[]) => void} */ resolve) => {
      this.#clearing.set(id, resolve);
      setTimeout(() => resolve(known), REPLY_MS);
      this.#node.port.postMessage({ type: "clear", id });
    });
    this.#clearing.delete(id);
    return heard;
  }

  async close() {
    await this.#context.close();
  }

  /** @param {any} data */
  #report(data) {
    if (data.type === "cleared") return this.#clearing.get(data.id)?.(data.heard);
    const { type, time, ...detail } = data;
    if (type === "progress" && detail.current && this.#sounding.has(detail.current.item)) this.#sounding.set(detail.current.item, detail.current.samples);
    if (type === "ended") this.#sounding.delete(detail.item);
    this.dispatchEvent(new CustomEvent(type, { detail: { ...detail, at: this.#clock.at(time) } }));
  }
}
