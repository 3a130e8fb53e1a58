// What compression of gradients costs and saves: node bench/compression.mjs [elements]
import { Float16Compressor, randn, TopKCompressor, zeros } from '../dist/index.js';

const ROUNDS = 7;
const elements = Number(process.argv[2] ?? 10_000_000);
const parameters = [zeros([elements])];
const gradients = [randn([elements])];
const bytes = 4 * elements;

const compressors = {
  f16: new Float16Compressor(parameters),
  'top 1 %': new TopKCompressor(parameters, { ratio: 0.01 }),
  'top 0.1 %': new TopKCompressor(parameters, { ratio: 0.001 }),
};

const best = {};
function time(name, run) {
  const start = performance.now();
  const result = run();
  best[name] = Math.min(best[name] ?? Infinity, performance.now() - start);
  return result;
}

const sizes = {};
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, compressor] of Object.entries(compressors)) {
    const compressed = time(`${name} compress`, () => compressor.compress(gradients));
    for (const t of time(`${name} decompress`, () => compressor.decompress(compressed))) t.dispose();
    sizes[name] = compressed.length;
  }
}

const speed = (ms) => `${(bytes / 1e6 / (ms / 1e3)).toFixed(0)} MB/s`;
console.log(`${elements} elements of f32, ${(bytes / 1e6).toFixed(0)} MB; the best of ${ROUNDS} rounds\n`);
console.table(
  Object.fromEntries(
    Object.keys(compressors).map((name) => [
      name,
      {
        ratio: Number((bytes / sizes[name]).toFixed(2)),
        compress: speed(best[`${name} compress`]),
        decompress: speed(best[`${name} decompress`]),
      },
    ]),
  ),
);
