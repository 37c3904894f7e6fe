/**
 * When something happened in an audio context, on the page's clock (`performance.now()`).
 *
 * A report of the audio thread reaches the page a little late, now and then much later: the quickest of them tell how the two clocks stand.
 */

const DRIFT = 2e-4; // at most this fast do two quartzes part
const STOOD_STILL_MS = 400; // no report is that late: the audio device was suspended meanwhile

export class Clock {
  #offset = Infinity; // ms of the page's clock at the context's zero
  #seen = 0;

  /**
   * @param {number} time seconds of the context's clock
   * @param {number} [now] ms; when the report of it was read
   * @returns {number} ms of the page's clock
   */
  at(time, now = performance.now()) {
    const newest = now - time * 1000;
    this.#offset = newest > this.#offset + STOOD_STILL_MS ? newest : Math.min(this.#offset + (now - this.#seen) * DRIFT, newest);
    this.#seen = now;
    return this.#offset + time * 1000;
  }
}
