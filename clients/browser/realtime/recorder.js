/**
 * The conversation as sound: two channels on one time line, the microphone on the left, what was really played on the right.
 *
 * Both streams are cut into reports by clocks of their own. Each is laid down without a seam, where its first report says, and anew after a gap.
 */

import { RATE, toSamples, wav } from "./pcm.js";

const BLOCK_S = 10;
const BLOCK = BLOCK_S * RATE; // samples of one channel
const KEPT_S = 15 * 60; // older sound is forgotten
const SEAM_MS = 120; // a report this far from where the last one ended begins a new stretch
const OPEN_BLOCKS = 2; // that may still be written to: reports come late, but not that late

export class Recorder {
  #zero = /** @type {number | null} */ (null);
  /** @type {Map<number, Int16Array<ArrayBuffer>>} by number, oldest first */
  #blocks = new Map();
  /** @type {Map<number, Blob>} those that are finished, out of the heap */
  #sealed = new Map();
  #ends = [0, 0]; // of each channel, in samples

  /** @param {Int16Array} pcm of the microphone @param {number} at ms of the page's clock at its end */
  hear(pcm, at) {
    this.#lay(0, pcm, at - (1000 * pcm.length) / RATE);
  }

  /** @param {Int16Array} pcm that was played @param {number} at ms of the page's clock at its beginning */
  play(pcm, at) {
    this.#lay(1, pcm, at);
  }

  /** Seconds that are kept. */
  get seconds() {
    return (this.#blocks.size + this.#sealed.size) * BLOCK_S;
  }

  /** @returns {Blob | null} a WAV file; null: nothing was heard yet */
  file() {
    const numbers = [...this.#sealed.keys(), ...this.#blocks.keys()].sort((one, other) => one - other);
    if (!numbers.length) return null;
    const silence = new Int16Array(2 * BLOCK);
    /** @type {BlobPart[]} */
    const parts = [];
    for (let number = numbers[0]; number <= numbers[numbers.length - 1]; number++) {
      parts.push(this.#sealed.get(number) ?? this.#blocks.get(number) ?? silence);
    }
    const surplus = (numbers[numbers.length - 1] + 1) * BLOCK - Math.max(...this.#ends);
    return wav([new Blob(parts).slice(0, -4 * surplus || undefined)], 2);
  }

  /** @param {0 | 1} channel @param {Int16Array} pcm @param {number} at ms of its beginning */
  #lay(channel, pcm, at) {
    this.#zero ??= at;
    const place = Math.max(0, toSamples(at - this.#zero));
    const from = Math.abs(place - this.#ends[channel]) < toSamples(SEAM_MS) ? this.#ends[channel] : place;
    for (let done = 0; done < pcm.length; ) {
      const begin = (from + done) % BLOCK;
      const run = Math.min(pcm.length - done, BLOCK - begin);
      const block = this.#block(Math.floor((from + done) / BLOCK));
      for (let n = 0; block && n < run; n++) block[2 * (begin + n) + channel] = pcm[done + n];
      done += run;
    }
    this.#ends[channel] = from + pcm.length;
  }

  /** @param {number} number */
  #block(number) {
    const block = this.#blocks.get(number);
    if (block || this.#sealed.has(number)) return block;
    const opened = new Int16Array(2 * BLOCK);
    this.#blocks.set(number, opened);
    for (const [old, samples] of this.#blocks) {
      if (this.#blocks.size <= OPEN_BLOCKS) break;
      this.#sealed.set(old, new Blob([samples]));
      this.#blocks.delete(old);
    }
    for (const old of this.#sealed.keys()) if (old < number - KEPT_S / BLOCK_S) this.#sealed.delete(old);
    return opened;
  }
}
