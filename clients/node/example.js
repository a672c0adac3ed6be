// Read the first images of an IDX file: node example.js t10k-images-idx3-ubyte.gz [count]

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { DigitClient, IMAGE_BYTES } from "./digit-client.js";

const [file, count = "10"] = process.argv.slice(2);
const bytes = readFileSync(file);
const idx = file.endsWith(".gz") ? gunzipSync(bytes) : bytes;
const client = new DigitClient(process.env.DIGITS_SERVER);
for (const { digit, confidence } of await client.predict(idx.subarray(16, 16 + Number(count) * IMAGE_BYTES))) {
  console.log(`${digit} (${(100 * confidence).toFixed(1)} % sure)`);
}
client.close();
