// Packs the library once for all files of these tests.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { firstExample } from '../../scripts/first-example.mjs';
import { runNpm } from '../../scripts/shared.mjs';

export interface Packed {
  readonly archive: string;
  readonly unpackedSize: number;
  readonly files: readonly { path: string; size: number }[];
  /** The code of README.md that is marked as the first example. */
  readonly example: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    packed: Packed;
  }
}

export default function setup({ provide }: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-package-'));
  const output = runNpm(['pack', '--json', '--foreground-scripts=false', '--pack-destination', folder], {});
  const { filename, unpackedSize, files } = JSON.parse(output)[0];
  provide('packed', { archive: join(folder, filename), unpackedSize, files, example: firstExample() });
  return () => rmSync(folder, { recursive: true, force: true });
}
