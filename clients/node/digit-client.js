// Ask a digit server from Node.js: `for (const { digit } of await client.predict(images)) ...`

import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

export const IMAGE_BYTES = 28 * 28;
const IMAGES_PER_CALL = 256;
const CALLS_IN_FLIGHT = 4;
const PROTO = fileURLToPath(new URL("../../protos/digits/v1/prediction.proto", import.meta.url));

const definition = protoLoader.loadSync(PROTO, { keepCase: false, longs: Number, defaults: true });
const { PredictionService } = grpc.loadPackageDefinition(definition).digits.v1;

// Calls that the server could not take are tried again by gRPC itself, with backoff and jitter.
const SERVICE_CONFIG = JSON.stringify({
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{
    name: [{ service: "digits.v1.PredictionService" }],
    retryPolicy: {
      maxAttempts: 5, initialBackoff: "0.1s", maxBackoff: "3s", backoffMultiplier: 3,
      retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    },
  }],
});

/**
 * @typedef {object} Prediction
 * @property {number} digit  0 to 9
 * @property {number} confidence  probability of that digit, 0 to 1
 * @property {number[] | null} probabilities  of all ten digits, where they were asked for
 * @property {string} model
 * @property {number} version
 */

export class DigitClient {
  #stub;
  #timeoutMs;

  /**
   * @param {string} address  HOST:PORT
   * @param {{timeoutMs?: number, credentials?: grpc.ChannelCredentials}} [options]
   */
  constructor(address = "localhost:8500", { timeoutMs = 10_000, credentials = grpc.credentials.createInsecure() } = {}) {
    this.#stub = new PredictionService(address, credentials, { "grpc.service_config": SERVICE_CONFIG });
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Predict the digit in each image, in order. Large inputs are cut into calls that travel together.
   * @param {Uint8Array} images  n x 784 bytes, row by row, 0 is background and 255 is full ink
   * @param {{probabilities?: boolean, model?: string, version?: number, label?: string}} [question]
   * @returns {Promise<Prediction[]>}
   */
  async predict(images, question = {}) {
    if (images.length === 0 || images.length % IMAGE_BYTES) {
      throw new RangeError(`images have ${images.length} bytes, expected a multiple of ${IMAGE_BYTES}`);
    }
    const size = IMAGES_PER_CALL * IMAGE_BYTES;
    const chunks = Array.from({ length: Math.ceil(images.length / size) }, (_, i) => images.subarray(i * size, (i + 1) * size));
    const answers = new Array(chunks.length);
    let next = 0;
    const lane = async () => {
      for (let i = next++; i < chunks.length; i = next++) answers[i] = await this.#call(chunks[i], question);
    };
    await Promise.all(Array.from({ length: CALLS_IN_FLIGHT }, lane));
    return answers.flat();
  }

  close() {
    this.#stub.close();
  }

  #call(images, { probabilities = false, model = "", version = 0, label = "" }) {
    const request = { images, includeProbabilities: probabilities, model, version, label };
    const deadline = Date.now() + this.#timeoutMs;
    return new Promise((resolve, reject) => {
      this.#stub.predict(request, { deadline }, (error, response) => {
        if (error) return reject(error);
        const count = images.length / IMAGE_BYTES;
        if (response.digits.length !== count) {
          return reject(new Error(`the server answered ${response.digits.length} digits for ${count} images`));
        }
        resolve(response.digits.map((digit, i) => ({
          digit,
          confidence: response.confidences[i],
          probabilities: probabilities ? response.probabilities.slice(10 * i, 10 * i + 10) : null,
          model: response.model,
          version: response.version,
        })));
      });
    });
  }
}
