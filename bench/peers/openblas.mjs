import { valuesIn } from '../data.mjs';
import { nativeAddon } from './native-addon.mjs';

export const name = 'OpenBLAS';

const YEARS = { '0.3.21': 2022, '0.3.29': 2025 };
const CORES = {
  avx2: 'Haswell',
  'avx2-vnni': 'Haswell',
  avx512: 'SkylakeX',
  'avx512-vnni': 'SkylakeX',
  'avx512-amx': 'SkylakeX',
};

let addon;

export function load(isa) {
  if (process.env.DRIVETRAIN_ISA && CORES[isa]) process.env.OPENBLAS_CORETYPE ??= CORES[isa];
  addon = nativeAddon('openblas');
  const version = /OpenBLAS (\S+)/.exec(addon.config)?.[1];
  return { version, year: YEARS[version], note: addon.core };
}

export const setThreads = (threads) => addon.setThreads(threads);

/** The products of a chain lie one after another: each reads what the one before it wrote. */
export function chain(gemm, { m, n, k, count, arrays: { a, b } }) {
  if (count === 1) {
    const c = new Float32Array(m * n);
    return { run: () => gemm(m, n, k, 1, a, b, c), values: valuesIn(c) };
  }
  const states = new Float32Array((count + 1) * m * n);
  states.set(a);
  const [from, to] = [states, states.subarray(m * n)];
  return {
    run: () => gemm(m, n, k, count, from, b, to),
    values: valuesIn(states.subarray(count * m * n)),
  };
}

export const gemm = (problem) => chain(addon.gemm, problem);

export function batchedGemm({ batch, m, n, k, arrays: { a, b } }) {
  const c = new Float32Array(batch * m * n);
  return { run: () => addon.gemm(m, n, k, batch, a, b, c), values: valuesIn(c) };
}
