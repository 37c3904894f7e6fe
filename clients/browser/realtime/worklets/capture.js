/**
 * The microphone's audio, from the device's rate to chunks of 40 ms at 24 kHz.
 * Posts {pcm: Int16Array, time: seconds of the context's clock at the chunk's end}.
 */

import { RATE, toPcm, toSamples } from "../pcm.js";
import { Resampler } from "../resampler.js";

const CHUNK = toSamples(40);

class Capture extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, RATE);
  #chunk = new Float32Array(CHUNK);
  #held = 0;

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const channel = inputs[0][0];
    if (channel) this.#take(this.#resampler.push(channel));
    return true;
  }

  /** @param {Float32Array} wave */
  #take(wave) {
    while (wave.length) {
      const part = wave.subarray(0, CHUNK - this.#held);
      this.#chunk.set(part, this.#held);
      this.#held += part.length;
      wave = wave.subarray(part.length);
      if (this.#held < CHUNK) return;
      const pcm = toPcm(this.#chunk);
      this.#held = 0;
      this.port.postMessage({ pcm, time: (currentFrame + 128) / sampleRate }, [pcm.buffer]);
    }
  }
}

registerProcessor("omni-capture", Capture);
