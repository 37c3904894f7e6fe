/**
 * The loudspeaker's end: a jitter buffer that is pulled by the sound card's clock, in a context that runs at 24 kHz.
 *
 * Takes {type: "push", item, pcm}, {type: "end", item}, {type: "endAll"} and {type: "clear", id}.
 * Posts {type: "started" | "ended", item, samples, time}, {type: "cleared", id, heard}, and while there is sound
 * {type: "progress", pcm, time, current, buffered, target, underruns}; time: seconds of the context's clock, where pcm begins.
 */

import { JitterBuffer } from "../jitter.js";
import { toPcm, toWave } from "../pcm.js";

const REPORT = 1024; // samples in one report of what was heard

class Playback extends AudioWorkletProcessor {
  #buffer = new JitterBuffer();
  #heard = new Float32Array(REPORT);
  #held = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#obey(data);
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs */
  process(_inputs, outputs) {
    const out = outputs[0][0];
    const sound = this.#buffer.pull(out);
    this.#tellChanges();
    if (sound || this.#held) this.#report(out);
    return true;
  }

  /** @param {any} order */
  #obey(order) {
    if (order.type === "push") this.#buffer.push(order.item, toWave(order.pcm));
    else if (order.type === "end") this.#buffer.end(order.item);
    else if (order.type === "endAll") this.#buffer.endAll();
    else if (order.type === "clear") this.port.postMessage({ type: "cleared", id: order.id, heard: this.#buffer.clear() });
  }

  #tellChanges() {
    for (const { type, item, samples, at } of this.#buffer.changes.splice(0)) {
      this.port.postMessage({ type, item, samples, time: (currentFrame + at) / sampleRate });
    }
  }

  /** @param {Float32Array} block */
  #report(block) {
    this.#heard.set(block, this.#held);
    this.#held += block.length;
    if (this.#held < REPORT) return;
    const pcm = toPcm(this.#heard);
    const { current, buffered, target, underruns } = this.#buffer;
    const time = (currentFrame + block.length - this.#held) / sampleRate;
    this.#held = 0;
    this.port.postMessage({ type: "progress", pcm, time, current, buffered, target, underruns }, [pcm.buffer]);
  }
}

registerProcessor("omni-playback", Playback);
