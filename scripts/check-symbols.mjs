// Kernels are compiled once per instruction set. A weak symbol in one of those objects would let the linker merge an
// AVX-512 copy into the scalar path, so there may be none.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isElf } from './binary/elf.mjs';
import { filesUnder, main, root, run, StepError } from './shared.mjs';

const WEAK = /\s[WVu] /;

await main(() => {
  const folders = readdirSync(root).filter((name) => /^build(-|$)/.test(name));
  // The other formats' objects are of the same sources, and not every nm reads them.
  const objects = folders
    .flatMap((folder) => filesUnder(folder, /^target_.*\.o$/))
    .filter((object) => isElf(readFileSync(join(root, object))));
  if (objects.length === 0) throw new StepError('There are no target_*.o yet: run node scripts/setup.mjs');
  const weak = objects.flatMap((object) =>
    run('nm', ['-C', object])
      .split('\n')
      .filter((line) => WEAK.test(line))
      .map((line) => `${object}: ${line.trim()}`),
  );
  if (weak.length) throw new StepError(`Weak symbols in kernel objects:\n${weak.join('\n')}`);
});
