/**
 * From the end of what the user said to the first sound of the answer, and where the time went.
 *
 * The end of speech is this side's own opinion, from the microphone's level: the server's would leave out the silence it needs to be sure.
 */

import { RATE, level } from "./pcm.js";

const KEPT_MS = 20_000; // of the microphone's past: a turn's end is announced long before that
const LOUD = 0.1; // of the loudest chunk of a turn: quieter ones are breath and room

/**
 * @typedef {object} Figures all in ms; null: not known
 * @property {number} total end of speech to first sound
 * @property {number | null} waiting for the server to be sure that the turn has ended; null: nothing was spoken
 * @property {number} answering until the answer's first audio arrived
 * @property {number} buffering until it was played
 * @property {number | null} server its own figure, of `answering`
 */

export class Latency {
  /** @type {{end: number, at: number, level: number}[]} chunks: samples since the connection began, ms of the page's clock */
  #past = [];
  #position = 0;
  /** @type {{spokenAt: number, endedAt: number, spoken: boolean} | null} */
  #turn = null;
  /** @type {{item: string, at: number} | null} */
  #arrived = null;
  /** @type {Figures | null} of the newest answer */
  figures = null;

  /** A new connection counts from its beginning. */
  restart() {
    this.#past = [];
    this.#position = 0;
    this.#turn = this.#arrived = null;
  }

  /** A chunk leaves. @param {Int16Array} pcm @param {number} at its end */
  sent(pcm, at) {
    this.#position += pcm.length;
    this.#past.push({ end: this.#position, at, level: level(pcm) });
    while (this.#past[0].at < at - KEPT_MS) this.#past.shift();
  }

  /** The server says where in the audio the turn ended. @param {number} startMs @param {number} endMs @param {number} now */
  turnEnded(startMs, endMs, now) {
    const within = (/** @type {number} */ end) => end > (startMs * RATE) / 1000 && end <= (endMs * RATE) / 1000;
    this.#spoke(this.#past.filter((chunk) => within(chunk.end)), now);
  }

  /** The user let go of the button. @param {number} startAt when it was pressed @param {number} now */
  turnGiven(startAt, now) {
    this.#spoke(this.#past.filter((chunk) => chunk.at > startAt), now);
  }

  /** The user typed. @param {number} now */
  asked(now) {
    this.#turn = { spokenAt: now, endedAt: now, spoken: false };
  }

  /** Audio of an answer arrives. @param {string} item @param {number} now */
  arrived(item, now) {
    if (this.#arrived?.item !== item) this.#arrived = { item, at: now };
  }

  /** Its first sample is heard. @param {string} item @param {number} at @returns {boolean} whether there are new figures */
  sounded(item, at) {
    if (!this.#turn || this.#arrived?.item !== item) return false;
    const { spokenAt, endedAt, spoken } = this.#turn;
    const waiting = spoken ? endedAt - spokenAt : null;
    this.figures = { total: at - spokenAt, waiting, answering: this.#arrived.at - endedAt, buffering: at - this.#arrived.at, server: null };
    this.#turn = null;
    return true;
  }

  /** @param {{end: number, at: number, level: number}[]} chunks @param {number} now */
  #spoke(chunks, now) {
    const loudest = Math.max(0, ...chunks.map((chunk) => chunk.level));
    const last = chunks.findLast((chunk) => chunk.level >= LOUD * loudest);
    this.#turn = { spokenAt: last?.at ?? now, endedAt: now, spoken: true };
  }
}
