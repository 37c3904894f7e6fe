/**
 * From any device's rate to another, chunk by chunk: a windowed sinc, polyphase, with the tail of each chunk kept for the next.
 * What comes out does not depend on how the input was cut. It trails the input by half a filter, about half a millisecond.
 */

const ZEROS = 12; // of the sinc on each side: 60 dB of what would fold back are gone
const PASS = 0.9; // of the lower of the two Nyquist frequencies

/** @param {number} a @param {number} b @returns {number} */
const divisor = (a, b) => (b ? divisor(b, a % b) : a);

export class Resampler {
  #up; // output samples ...
  #down; // ... for so many input samples
  #taps;
  #table; // of #up filters with #taps taps each
  #held; // the newest #taps - 1 input samples
  #phase = 0; // of the next output sample, in 1 / #up of an input sample after the first held one

  /** @param {number} from Hz @param {number} to Hz */
  constructor(from, to) {
    const common = divisor(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const stretch = Math.max(1, from / to) / PASS;
    const half = Math.ceil(ZEROS * stretch);
    this.#taps = 2 * half;
    this.#table = filters(this.#up, half, 1 / stretch);
    this.#held = new Float32Array(this.#taps - 1);
  }

  /** @param {Float32Array} input @returns {Float32Array<ArrayBuffer>} */
  push(input) {
    const line = new Float32Array(this.#held.length + input.length);
    line.set(this.#held);
    line.set(input, this.#held.length);
    const last = line.length - this.#taps; // where the last whole window begins
    const count = Math.max(0, Math.floor((last * this.#up + this.#up - 1 - this.#phase) / this.#down) + 1);
    const output = new Float32Array(count);
    for (let n = 0; n < count; n++) {
      const begin = Math.floor(this.#phase / this.#up);
      const row = (this.#phase % this.#up) * this.#taps;
      let sum = 0;
      for (let tap = 0; tap < this.#taps; tap++) sum += line[begin + tap] * this.#table[row + tap];
      output[n] = sum;
      this.#phase += this.#down;
    }
    this.#phase -= input.length * this.#up;
    this.#held = line.slice(line.length - this.#held.length);
    return output;
  }
}

/**
 * One filter for each phase, every one with a sum of 1 so that no phase is louder than another.
 * @param {number} phases @param {number} half taps on each side @param {number} cutoff of the input's Nyquist frequency
 */
function filters(phases, half, cutoff) {
  const table = new Float32Array(phases * 2 * half);
  for (let phase = 0; phase < phases; phase++) {
    const row = table.subarray(phase * 2 * half, (phase + 1) * 2 * half);
    for (let tap = 0; tap < row.length; tap++) {
      const at = tap - (half - 1) - phase / phases;
      const turn = (Math.PI * at) / half;
      const window = 0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn); // Blackman
      row[tap] = (at ? Math.sin(Math.PI * cutoff * at) / (Math.PI * at) : cutoff) * window;
    }
    const sum = row.reduce((total, value) => total + value, 0);
    for (let tap = 0; tap < row.length; tap++) row[tap] /= sum;
  }
  return table;
}
