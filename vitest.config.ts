import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Folders whose results depend on the kernels: they run once more for every further instruction set of this machine.
const NUMERIC = ['tensor', 'ops', 'program', 'nn', 'optim', 'train', 'compress'].map(
  (folder) => `test/${folder}/**/*.test.ts`,
);
/** What tests no kernel: locks, memory, errors. A composition trains models of layers that have tests of their own. */
const NOT_NUMERIC = [
  'test/tensor/{memory-pool,memory-pressure,scope,soak}.test.ts',
  'test/ops/errors.test.ts',
  'test/program/{busy,cancellation,concurrency,detach,disposal,error-lines,memory-growth,pool-limit,refusals,scopes}.test.ts',
  'test/optim/{refusals,schedules}.test.ts',
  'test/train/kill.test.ts',
  'test/compress/{composition,range-observer}.test.ts',
];
// Sets such as avx2 and avx2-vnni differ in the int8 kernels alone: of such a pair, the second runs only these.
const INT8 = [
  'test/ops/{int8,quantize}.test.ts',
  'test/compress/{attention,compressed-file,keep-accuracy,qat,quantize,static-quantization}.test.ts',
];
const base = (isa: string) => isa.split('-')[0];

async function furtherInstructionSets(): Promise<{ isa: string; include: string[] }[]> {
  const library = new URL('dist/index.js', import.meta.url);
  if (!existsSync(library)) return [];
  const { device } = (await import(library.href)) as typeof import('drivetrain');
  const { isa, isas } = device.info();
  const order = [isa, ...isas.filter((name) => name !== isa)];
  return order.slice(1).map((name, i) => {
    const alike = order.slice(0, i + 1).some((before) => base(before) === base(name));
    return { isa: name, include: alike ? INT8 : NUMERIC };
  });
}

const sanitized = process.env.ASAN_OPTIONS !== undefined;
/** Under a sanitizer: what calls no native code that other tests do not. A hundred processes are killed in the first. */
const covered = sanitized
  ? [
      'test/io/checkpoint/kill.test.ts',
      'test/io/{csv,data-loader,jsonl,text-batches,tokenizer,worker-dataset}.test.ts',
      'test/native/loader.test.ts',
      'test/{program/memory-growth,tensor/soak}.test.ts',
      // Layers of other tests, trained.
      'test/compress/composition.test.ts',
      'test/{bench,cli,docs,examples,models,observe,scripts,serve,train}/**',
    ]
  : [];

// Files share a process: starting one and loading the library takes longer than most of them. In the first instruction set
// each has a process of its own.
const furtherProject = (isa: string, include: string[]) => ({
  extends: true as const,
  test: {
    name: isa,
    include,
    exclude: NOT_NUMERIC,
    env: { DRIVETRAIN_ISA: isa },
    isolate: false,
    setupFiles: ['test/shared-process.ts'],
  },
});

const everything = ['test/**/*.test.ts'];

export default defineConfig(async () => ({
  test: {
    pool: 'forks' as const,
    maxWorkers: availableParallelism(),
    // The compiled library is tested as users load it, by Node itself.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 30_000,
    setupFiles: process.env.NODE_V8_COVERAGE === undefined ? [] : ['test/coverage.ts'],
    projects: [
      {
        extends: true as const,
        test: {
          name: 'default',
          include: everything,
          exclude: ['test/package/**', ...covered],
        },
      },
      ...(await furtherInstructionSets()).map(({ isa, include }) => furtherProject(isa, include)),
      {
        extends: true as const,
        test: {
          name: 'package',
          include: ['test/package/**/*.test.ts'],
          globalSetup: 'test/package/pack.ts',
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
}));
