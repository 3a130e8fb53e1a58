import { valuesIn } from '../data.mjs';
import { nativeAddon } from './native-addon.mjs';
import { chain } from './openblas.mjs';

export const name = 'oneDNN';

const YEARS = { 2.6: 2022, 3.6: 2024 };
const ISAS = {
  scalar: 'SSE41',
  avx2: 'AVX2',
  'avx2-vnni': 'AVX2_VNNI',
  avx512: 'AVX512_CORE',
  'avx512-vnni': 'AVX512_CORE_VNNI',
  'avx512-amx': 'AVX512_CORE_AMX',
};

let addon;

export function load(isa) {
  const pin = process.env.DRIVETRAIN_ISA && ISAS[isa];
  if (pin) process.env.DNNL_MAX_CPU_ISA ??= pin;
  addon = nativeAddon('onednn');
  return {
    version: addon.version,
    year: YEARS[addon.version.split('.').slice(0, 2).join('.')],
    note: process.env.DNNL_MAX_CPU_ISA && `at most ${process.env.DNNL_MAX_CPU_ISA}`,
  };
}

export const setThreads = (threads) => addon.setThreads(threads);

export const gemm = (problem) => chain(addon.gemm, problem);

export function batchedGemm({ batch, m, n, k, arrays: { a, b } }) {
  const c = new Float32Array(batch * m * n);
  const product = addon.batched(batch, m, n, k, a, b, c);
  return { run: () => addon.execute(product), values: valuesIn(c), keep: [a, b, c] };
}

/** Factors u8 and s8, the second laid out ahead. */
export function matmulInteger({ m, n, k, arrays: { a, b } }) {
  const c = new Int32Array(m * n);
  const product = addon.int8(m, n, k, a, b, c);
  return { run: () => addon.execute(product), values: valuesIn(c), keep: [a, c] };
}
