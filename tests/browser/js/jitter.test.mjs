// The jitter buffer, pulled by a clock of the test's own: blocks of 128 samples, as an audio thread pulls them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { JitterBuffer } from "../../../clients/browser/realtime/jitter.js";

const BLOCK = 128;
const FRAME = 2048; // samples in one frame of the codec: 85 ms

const ones = (length) => new Float32Array(length).fill(1);
const pull = (buffer, blocks = 1) => {
  const out = new Float32Array(BLOCK * blocks);
  for (let n = 0; n < blocks; n++) buffer.pull(out.subarray(n * BLOCK, (n + 1) * BLOCK));
  return out;
};
const loud = (out) => out.filter((sample) => sample !== 0).length;

test("sound begins when one frame is there, not before", () => {
  const buffer = new JitterBuffer();
  buffer.push("a", ones(FRAME - 512));
  assert.equal(loud(pull(buffer, 4)), 0);
  buffer.push("a", ones(512));
  assert.ok(loud(pull(buffer)) > 0);
  assert.deepEqual(buffer.changes, [{ type: "started", item: "a", samples: 0, at: 0 }]);
});

test("a short answer is played although it never fills the buffer", () => {
  const buffer = new JitterBuffer();
  buffer.push("a", ones(300));
  buffer.end("a");
  pull(buffer, 3);
  assert.deepEqual(buffer.changes.at(-1), { type: "ended", item: "a", samples: 300, at: 44 });
  assert.equal(buffer.underruns, 0);
});

test("every sample comes out once and in order, however it came in, and is counted for its item", () => {
  const buffer = new JitterBuffer();
  const said = Float32Array.from({ length: 9_000 }, (_, n) => 0.001 * (n + 1));
  for (let at = 0, size = 1; at < said.length; at += size, size = (size * 7) % 997) {
    buffer.push(at < 5_000 ? "a" : "b", said.slice(at, Math.min(at + size, at < 5_000 ? 5_000 : said.length)));
    if (at < 5_000 && at + size > 5_000) size = 5_000 - at;
  }
  buffer.endAll();
  const out = pull(buffer, Math.ceil(9_000 / BLOCK));
  assert.deepEqual(out.slice(64, 9_000), said.slice(64)); // the first few are faded in
  assert.deepEqual(
    buffer.changes.filter(({ type }) => type === "ended").map(({ item, samples }) => [item, samples]),
    [["a", 5_000], ["b", 4_000]],
  );
});

test("clearing fades out within 10 ms and tells what was heard to the sample, the fade included", () => {
  const buffer = new JitterBuffer();
  buffer.push("a", ones(2 * FRAME));
  buffer.push("b", ones(FRAME));
  pull(buffer, 10);
  assert.deepEqual(buffer.clear(), [{ item: "a", samples: 10 * BLOCK + 240 }, { item: "b", samples: 0 }]);
  const tail = pull(buffer, 4);
  assert.equal(loud(tail), 240);
  assert.ok(tail.every((sample, n) => n === 0 || sample <= tail[n - 1]));
  assert.equal(buffer.buffered, 0);
});

test("running dry in the middle is an underrun, is soft at both edges, and asks for more the next time", () => {
  const buffer = new JitterBuffer();
  const before = buffer.target;
  buffer.push("a", ones(FRAME));
  const out = pull(buffer, FRAME / BLOCK + 2);
  assert.ok(out[FRAME - 1] < 0.05);
  assert.equal(buffer.underruns, 0); // it may have been the end
  buffer.push("a", ones(FRAME));
  assert.equal(buffer.underruns, 1);
  assert.equal(buffer.target, Math.round(1.5 * before));
  assert.equal(loud(pull(buffer)), 0); // one frame is no longer enough
  buffer.push("a", ones(FRAME));
  assert.ok(pull(buffer)[1] < 0.05);
});

test("an item that ends where the sound ran out is no underrun, and patience comes back", () => {
  const buffer = new JitterBuffer();
  buffer.target = 6_000;
  for (const item of ["a", "b", "c", "d", "e", "f"]) {
    buffer.push(item, ones(6_000));
    pull(buffer, 60);
    buffer.end(item);
  }
  assert.equal(buffer.underruns, 0);
  assert.equal(buffer.target, 2_040); // 85 ms again
});
