/**
 * The microphone: one device at a time, as chunks of 40 ms at 24 kHz.
 *
 * Events: `chunk` {pcm, at: ms of the page's clock at its end}, `lost` (the device was unplugged or taken away).
 */

import { Clock } from "./clock.js";
import { openDevice } from "./media.js";

export class Microphone extends EventTarget {
  /** @type {MediaStream} */
  #stream;
  #context;
  #clock = new Clock();
  /** for drawing; its sound goes nowhere */
  analyser;

  /** @param {MediaStream} stream @param {AudioContext} context with the worklet */
  constructor(stream, context) {
    super();
    this.#stream = stream;
    this.#context = context;
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    const capture = new AudioWorkletNode(context, "omni-capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    capture.port.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("chunk", { detail: { pcm: data.pcm, at: this.#clock.at(data.time) } }));
    context.createMediaStreamSource(stream).connect(this.analyser).connect(capture);
    this.track.addEventListener("ended", () => this.dispatchEvent(new CustomEvent("lost")));
  }

  /**
   * Ask for a microphone. Throws Problem.
   * @param {string} [deviceId] the usual one, where it is gone or not given
   */
  static async open(deviceId) {
    const stream = await openDevice("microphone", { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 }, deviceId);
    const context = new AudioContext({ latencyHint: "interactive" }); // at the device's own rate: not every browser converts
    await context.audioWorklet.addModule(new URL("worklets/capture.js", import.meta.url));
    await context.resume();
    return new Microphone(stream, context);
  }

  get track() {
    return this.#stream.getAudioTracks()[0];
  }

  get deviceId() {
    return this.track.getSettings().deviceId ?? "";
  }

  /** While muted, silence is captured: the server still hears that a turn has ended. @param {boolean} on */
  set muted(on) {
    this.track.enabled = !on;
  }

  /** Give the device back. */
  async close() {
    this.track.stop();
    await this.#context.close();
  }
}
