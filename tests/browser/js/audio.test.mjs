// PCM, resampling, and the two-channel recording.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, toPcm, toWave } from "../../../clients/browser/realtime/pcm.js";
import { Recorder } from "../../../clients/browser/realtime/recorder.js";
import { Resampler } from "../../../clients/browser/realtime/resampler.js";

const tone = (hz, rate, samples) => Float32Array.from({ length: samples }, (_, n) => 0.5 * Math.sin((2 * Math.PI * hz * n) / rate));
const rms = (wave) => Math.sqrt(wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length);

/** What is left of `wave` when the best-fitting tone is taken away, relative to it. */
function distortion(wave, hz, rate) {
  let [cosine, sine] = [0, 0];
  wave.forEach((sample, n) => {
    cosine += (2 / wave.length) * sample * Math.cos((2 * Math.PI * hz * n) / rate);
    sine += (2 / wave.length) * sample * Math.sin((2 * Math.PI * hz * n) / rate);
  });
  const rest = wave.map((sample, n) => sample - cosine * Math.cos((2 * Math.PI * hz * n) / rate) - sine * Math.sin((2 * Math.PI * hz * n) / rate));
  return { level: Math.hypot(cosine, sine), rest: rms(rest) / rms(wave) };
}

test("base64 carries PCM there and back", () => {
  const pcm = Int16Array.from({ length: 20_001 }, (_, n) => (n * 7919) % 65_536 - 32_768);
  assert.deepEqual(decode(encode(pcm)), pcm);
  assert.deepEqual(toPcm(toWave(pcm)), pcm);
});

for (const rate of [8_000, 16_000, 22_050, 44_100, 48_000, 96_000]) {
  test(`from ${rate} Hz a tone stays what it is`, () => {
    const out = new Resampler(rate, 24_000).push(tone(1_000, rate, rate)).slice(2_400, 21_600); // whole periods
    const { level, rest } = distortion(out, 1_000, 24_000);
    assert.ok(Math.abs(level - 0.5) < 0.005, `${level}`);
    assert.ok(rest < 0.003, `${rest}`);
  });
}

test("what 24 kHz can't hold is gone instead of folding back", () => {
  const out = new Resampler(48_000, 24_000).push(tone(15_000, 48_000, 48_000)).slice(1_000);
  assert.ok(rms(out) < 0.0006, `${rms(out)}`); // 55 dB below the tone
});

test("resampling does not depend on how the sound was cut", () => {
  const wave = tone(700, 44_100, 10_000);
  const whole = new Resampler(44_100, 24_000).push(wave);
  const resampler = new Resampler(44_100, 24_000);
  const parts = [];
  for (let at = 0; at < wave.length; at += 128) parts.push(...resampler.push(wave.slice(at, at + 128)));
  assert.deepEqual(Float32Array.from(parts), whole);
  assert.ok(Math.abs(whole.length - (10_000 * 24_000) / 44_100) <= 1);
});

test("a recording has both sides in their places, gaps included", async () => {
  const recorder = new Recorder();
  const [loud, soft] = [new Int16Array(960).fill(1_000), new Int16Array(960).fill(7)];
  for (let n = 0; n < 50; n++) recorder.hear(soft, 5_040 + 40 * n + (n % 3)); // reports come a little early or late
  recorder.play(loud, 5_500);
  recorder.play(loud, 16_000); // after a silence, in the next block
  const file = recorder.file();
  assert.equal(file.type, "audio/wav");
  const bytes = await file.arrayBuffer();
  const samples = new Int16Array(bytes, 44);
  assert.equal(new DataView(bytes).getUint32(40, true), samples.byteLength);
  assert.equal(samples.length, 2 * (11_000 * 24 + 960));
  const at = (ms, channel) => samples[2 * ms * 24 + channel];
  assert.deepEqual([at(0, 0), at(1_999, 0), at(2_001, 0)], [7, 7, 0]); // seamless: 50 chunks of 40 ms are 2 s
  assert.deepEqual([at(499, 1), at(501, 1), at(539, 1), at(541, 1), at(11_001, 1)], [0, 1_000, 1_000, 0, 1_000]);
});
