import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Folders whose results depend on the kernels: they run once more for every further instruction set of this machine.
const NUMERIC = ['tensor', 'ops', 'program', 'io', 'nn', 'optim', 'compress'];

async function furtherInstructionSets(): Promise<string[]> {
  const library = new URL('dist/index.js', import.meta.url);
  if (!existsSync(library)) return [];
  const { device } = (await import(library.href)) as typeof import('drivetrain');
  const { isa, isas } = device.info();
  return isas.filter((name) => name !== isa);
}

const project = (name: string, include: string[], env: Record<string, string> = {}) => ({
  extends: true as const,
  test: { name, include, env },
});

const everything = ['test/**/*.test.ts'];
const numeric = NUMERIC.map((folder) => `test/${folder}/**/*.test.ts`);

export default defineConfig(async () => ({
  test: {
    pool: 'forks' as const,
    maxWorkers: availableParallelism(),
    // The compiled library is tested as users load it, by Node itself.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 30_000,
    projects: [
      {
        extends: true as const,
        test: { name: 'default', include: everything, exclude: ['test/package/**'] },
      },
      ...(await furtherInstructionSets()).map((isa) => project(isa, numeric, { DRIVETRAIN_ISA: isa })),
      {
        extends: true as const,
        test: {
          name: 'package',
          include: ['test/package/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
}));
