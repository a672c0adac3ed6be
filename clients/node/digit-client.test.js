// Against the real server that DIGITS_SERVER names.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DigitClient, IMAGE_BYTES } from "./digit-client.js";

const client = new DigitClient(process.env.DIGITS_SERVER);
after(() => client.close());

function ones(count) {
  const image = new Uint8Array(IMAGE_BYTES);
  for (let row = 4; row < 24; row++) image.fill(255, row * 28 + 13, row * 28 + 16);
  return Uint8Array.from({ length: count * IMAGE_BYTES }, (_, i) => image[i % IMAGE_BYTES]);
}

test("an image is answered with all that the server says", async () => {
  const [answer] = await client.predict(ones(1), { probabilities: true });
  assert.equal(answer.digit, 1);
  assert.equal(answer.model, "digits");
  assert.ok(answer.version > 0);
  assert.equal(answer.probabilities.length, 10);
  assert.ok(Math.abs(answer.probabilities[1] - answer.confidence) < 1e-6);
});

test("many images are cut into calls and answered in order", async () => {
  const images = ones(2000);
  images.fill(0, 1500 * IMAGE_BYTES, 1501 * IMAGE_BYTES);
  const answers = await client.predict(images);
  assert.equal(answers.length, 2000);
  assert.notEqual(answers[1500].confidence, answers[1499].confidence);
  assert.ok(answers.every(({ digit }, i) => i === 1500 || digit === 1));
});

test("half an image is refused before the wire", async () => {
  await assert.rejects(client.predict(new Uint8Array(800)), /800 bytes, expected a multiple of 784/);
});

test("an unknown model is NOT_FOUND", async () => {
  await assert.rejects(client.predict(ones(1), { model: "nothing" }), /NOT_FOUND/);
});
