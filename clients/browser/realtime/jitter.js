/**
 * What is to be heard, in order, counted to the sample for every item it belongs to.
 *
 * It starts when enough is there to ride out a late packet, and asks for more after every time it ran dry. Owns no clock and no
 * audio device: whoever pulls decides when time passes.
 */

import { toSamples } from "./pcm.js";

const START_MS = 85; // one frame of the codec: the next is there long before this one has been heard
const MOST_MS = 400;
const MORE = 1.5; // of the last target, after running dry
const LESS = 0.8; // after an item that did not
const FADE = toSamples(10); // of what is cut
const EDGE = 64; // samples over which sound begins and breaks off where it runs dry

/**
 * @typedef {{item: string, received: number, played: number, ended: boolean}} Voice
 * @typedef {{type: "started" | "ended", item: string, samples: number, at: number}} Change
 *   samples: of the item, heard so far; at: samples into the block that was pulled
 * @typedef {{item: string, samples: number}} Heard
 */

export class JitterBuffer {
  /** @type {{voice: Voice, wave: Float32Array}[]} */
  #queue = [];
  /** @type {Map<string, Voice>} in the order of their beginning */
  #voices = new Map();
  #tail = new Float32Array(0);
  #waiting = true; // for enough to start
  #smooth = true; // the next sample comes after silence
  /** @type {Voice | null} ran dry in the middle */
  #dry = null;
  #troubled = false; // the item that is heard has run dry
  /** times that an item ran dry in its middle */
  underruns = 0;
  /** samples that are awaited before sound starts */
  target = toSamples(START_MS);
  /** samples that wait to be heard */
  buffered = 0;
  /** @type {Change[]} since the last pull */
  changes = [];

  /** The item that is heard, or will be next. @returns {Heard | null} */
  get current() {
    const voice = this.#dry ?? this.#queue[0]?.voice;
    return voice ? { item: voice.item, samples: voice.played } : null;
  }

  /** @param {string} item @param {Float32Array} wave */
  push(item, wave) {
    if (!wave.length) return;
    let voice = this.#voices.get(item);
    if (!voice) this.#voices.set(item, (voice = { item, received: 0, played: 0, ended: false }));
    if (voice === this.#dry) {
      this.underruns++;
      this.#troubled = true;
      this.target = Math.min(toSamples(MOST_MS), Math.round(this.target * MORE));
      this.#dry = null;
    }
    voice.received += wave.length;
    this.buffered += wave.length;
    this.#queue.push({ voice, wave });
  }

  /** Nothing more comes of that item. @param {string} item */
  end(item) {
    const voice = this.#voices.get(item);
    if (!voice) return;
    voice.ended = true;
    if (voice.played === voice.received) this.#over(voice, 0);
  }

  /** Nothing more comes of any item. */
  endAll() {
    for (const item of [...this.#voices.keys()]) this.end(item);
  }

  /** Silence, after a short fade: all that waits is thrown away. @returns {Heard[]} what was heard of each item */
  clear() {
    if (!this.#waiting) this.#tail = this.#fade();
    const heard = [...this.#voices.values()].map(({ item, played }) => ({ item, samples: played }));
    this.#voices.clear();
    this.#queue = [];
    this.buffered = 0;
    this.#dry = null;
    this.#waiting = this.#smooth = true;
    return heard;
  }

  /** Fill a block with what is to be heard now. @param {Float32Array} out @returns {number} samples of sound in it, from its beginning */
  pull(out) {
    out.fill(0);
    if (this.#tail.length) return this.#pullTail(out);
    if (this.#waiting && !this.#enough()) return 0;
    this.#waiting = false;
    let at = 0;
    while (at < out.length && this.#queue.length) at = this.#pullFront(out, at);
    if (!this.#queue.length) this.#ranDry(out, at);
    return at;
  }

  #enough() {
    const first = this.#queue[0];
    return first !== undefined && (this.buffered >= this.target || first.voice.ended);
  }

  /** @param {Float32Array} out */
  #pullTail(out) {
    const count = Math.min(out.length, this.#tail.length);
    out.set(this.#tail.subarray(0, count));
    this.#tail = this.#tail.slice(count);
    return count;
  }

  /** @param {Float32Array} out @param {number} at @returns {number} */
  #pullFront(out, at) {
    const front = this.#queue[0];
    const { voice } = front;
    if (voice.played === 0) this.changes.push({ type: "started", item: voice.item, samples: 0, at });
    const count = Math.min(out.length - at, front.wave.length);
    out.set(front.wave.subarray(0, count), at);
    if (this.#smooth) {
      for (let n = 0; n < Math.min(count, EDGE); n++) out[at + n] *= n / EDGE;
      this.#smooth = false;
    }
    voice.played += count;
    this.buffered -= count;
    front.wave = front.wave.subarray(count);
    if (!front.wave.length) this.#queue.shift();
    if (voice.ended && voice.played === voice.received) this.#over(voice, at + count);
    return at + count;
  }

  /** Everything has been heard: the end of it, or more is late. @param {Float32Array} out @param {number} at where the sound ends */
  #ranDry(out, at) {
    this.#waiting = this.#smooth = true;
    this.#dry = [...this.#voices.values()].at(-1) ?? null;
    if (this.#dry) for (let n = 0; n < Math.min(at, EDGE); n++) out[at - 1 - n] *= n / EDGE;
  }

  /** @param {Voice} voice @param {number} at */
  #over(voice, at) {
    this.#voices.delete(voice.item);
    if (voice === this.#dry) this.#dry = null;
    this.changes.push({ type: "ended", item: voice.item, samples: voice.played, at });
    if (!this.#troubled) this.target = Math.max(toSamples(START_MS), Math.round(this.target * LESS));
    this.#troubled = false;
  }

  /** The next few samples of what is heard, dying away: they count as heard. @returns {Float32Array<ArrayBuffer>} */
  #fade() {
    const tail = new Float32Array(FADE);
    const count = this.pull(tail);
    for (let n = 0; n < count; n++) tail[n] *= 1 - n / count;
    return tail.slice(0, count);
  }
}
