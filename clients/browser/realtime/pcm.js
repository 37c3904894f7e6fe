/**
 * PCM as the wire, the worklets and WAV files have it. Mono s16le at 24 kHz everywhere; a sample is the unit of time.
 */

export const RATE = 24_000;

/** @param {number} samples @returns {number} whole milliseconds, rounded down */
export const toMs = (samples) => Math.floor((samples * 1000) / RATE);

/** @param {number} ms @returns {number} samples */
export const toSamples = (ms) => Math.round((ms * RATE) / 1000);

/** @param {Int16Array} pcm @returns {string} base64 */
export function encode(pcm) {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  let text = "";
  // fromCharCode takes its bytes as arguments, of which engines allow some ten thousands.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** @param {string} base64 @returns {Int16Array<ArrayBuffer>} */
export function decode(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length & ~1);
  for (let at = 0; at < bytes.length; at++) bytes[at] = text.charCodeAt(at);
  return new Int16Array(bytes.buffer);
}

/** @param {Float32Array} wave -1..1 @returns {Int16Array<ArrayBuffer>} */
export function toPcm(wave) {
  const pcm = new Int16Array(wave.length);
  for (let at = 0; at < wave.length; at++) pcm[at] = Math.max(-32768, Math.min(32767, Math.round(wave[at] * 32767)));
  return pcm;
}

/** @param {Int16Array} pcm @returns {Float32Array<ArrayBuffer>} -1..1 */
export function toWave(pcm) {
  const wave = new Float32Array(pcm.length);
  for (let at = 0; at < pcm.length; at++) wave[at] = pcm[at] / 32767;
  return wave;
}

/** @param {Int16Array} pcm @returns {number} root mean square, 0..1 */
export function level(pcm) {
  let sum = 0;
  for (let at = 0; at < pcm.length; at++) sum += pcm[at] * pcm[at];
  return pcm.length ? Math.sqrt(sum / pcm.length) / 32767 : 0;
}

/**
 * A WAV file of interleaved samples.
 * @param {BlobPart[]} parts s16le
 * @param {number} channels
 * @returns {Blob}
 */
export function wav(parts, channels) {
  const data = new Blob(parts);
  const header = new DataView(new ArrayBuffer(44));
  const word = (/** @type {number} */ at, /** @type {string} */ text) => [...text].forEach((letter, n) => header.setUint8(at + n, letter.charCodeAt(0)));
  word(0, "RIFF");
  header.setUint32(4, 36 + data.size, true);
  word(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, channels, true);
  header.setUint32(24, RATE, true);
  header.setUint32(28, RATE * 2 * channels, true);
  header.setUint16(32, 2 * channels, true);
  header.setUint16(34, 16, true);
  word(36, "data");
  header.setUint32(40, data.size, true);
  return new Blob([header, data], { type: "audio/wav" });
}
