import { instructionWords, type Place, PROGRAM_WORDS, writeInstruction } from '../ops/index.js';
import type { Storage } from '../tensor/index.js';
import type { MemoryPlan } from './plan.js';
import type { Step } from './record.js';

/** The slot of native/program/program.h that is the executing thread's scratch. */
const SCRATCH_SLOT = -1;

/**
 * The program in the layout of native/program/program.h. Temporaries lie in slot 0 where they have an `arena`, else in
 * native scratch; the storages in `bound` have the slots that follow.
 */
export function encode(
  steps: readonly Step[],
  commitStart: number,
  { offsets, report }: MemoryPlan,
  arena: boolean,
  bound: readonly Storage[],
): Float64Array {
  const places = new Map<Storage, Place>();
  const first = arena ? 1 : 0;
  bound.forEach((storage, i) => {
    places.set(storage, { slot: first + i, byteOffset: 0 });
  });
  for (const [storage, byteOffset] of offsets) {
    places.set(storage, { slot: arena ? 0 : SCRATCH_SLOT, byteOffset });
  }
  const parts = steps.map(({ op, attrs, inputs, outputs }) => ({
    name: op.name,
    operands: [...inputs, ...outputs],
    numbers: op.numbers?.(attrs, inputs) ?? [],
  }));
  const words = parts.reduce(
    (sum, { operands, numbers }) => sum + instructionWords(operands, numbers),
    PROGRAM_WORDS,
  );
  const page = new Float64Array(words);
  page.set([steps.length, commitStart, arena ? 0 : report.planned]);
  let at = PROGRAM_WORDS;
  for (const { name, operands, numbers } of parts) {
    at = writeInstruction(page, at, name, operands, numbers, (storage) => places.get(storage)!);
  }
  return page;
}
