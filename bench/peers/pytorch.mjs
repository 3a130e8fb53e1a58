// PyTorch in a process of its own (peers/pytorch.py), which makes the same numbers and has its own clock.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { watchProcess } from '../measure.mjs';

export const name = 'PyTorch';

const YEARS = { 1.13: 2022, '2.0': 2023, 2.6: 2025 };
/** Debian's packages belong to Debian's Python, not to another that stands first on PATH. */
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
const CAPABILITIES = {
  scalar: 'default',
  avx2: 'avx2',
  'avx2-vnni': 'avx2',
  avx512: 'avx512',
  'avx512-vnni': 'avx512',
  'avx512-amx': 'avx512',
};

let child;
let answers;

async function ask(request) {
  child.stdin.write(`${JSON.stringify(request)}\n`);
  const { value, done } = await answers.next();
  if (done) throw new Error(`${PYTHON} with torch and numpy is not there`);
  const answer = JSON.parse(value);
  if (answer.error) throw new Error(answer.error);
  return answer;
}

export async function load(isa) {
  const pin = process.env.DRIVETRAIN_ISA && CAPABILITIES[isa];
  // Its products are OpenBLAS' and oneDNN's, which read the pins that their modules have set.
  const env = { ...process.env, ...(pin && { ATEN_CPU_CAPABILITY: pin }) };
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url));
  child = spawn(PYTHON, [script], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  if (child.pid !== undefined) watchProcess(child.pid);
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const { version } = await ask({ load: true });
  return { version, year: YEARS[version.split('.').slice(0, 2).join('.')], note: pin && `at most ${pin}` };
}

export const unload = () => child?.stdin.end();

async function contestant(problem, threads) {
  // The arrays stay here: they are made anew there from their description.
  const { contestant: id } = await ask({ prepare: { ...problem, arrays: undefined }, threads });
  if (id === null) return undefined;
  return {
    time: async (milliseconds) => (await ask({ time: id, milliseconds })).seconds,
    run: () => ask({ run: id }),
    values: async (indices) => (await ask({ values: id, indices })).values,
    dispose: () => ask({ release: id }),
  };
}

export const gemm = contestant;
export const batchedGemm = contestant;
export const linearInt8 = contestant;
export const attention = contestant;
export const softmaxRows = contestant;
export const layerNormRows = contestant;
export const geluRows = contestant;
export const chainRows = contestant;
export const optimizer = contestant;
export const digits = contestant;
export const trainDigits = contestant;
export const encoder = contestant;
export const smallAdd = contestant;
export const smallProgram = contestant;
