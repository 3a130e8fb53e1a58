import type { Storage } from '../tensor/index.js';
import { writtenBy } from './commit.js';
import { shareCommon } from './common.js';
import { fuseProducts } from './fuse.js';
import { packConstants } from './pack.js';
import type { Recording, Step } from './record.js';

/**
 * The steps that outputs or lasting state depend on, what is the same computed once, with what follows matrix products
 * fused into them and frozen operands packed.
 */
export function optimise<R>({ steps, outputs }: Recording<R>): Step[] {
  const storages = outputs.map(({ storage }) => storage);
  const needed = shareCommon(removeDead(steps, storages), storages);
  const fused = fuseProducts(needed, storages);
  // The constants of fused scales are no longer needed.
  return packConstants(removeDead(fused, storages));
}

function removeDead(steps: readonly Step[], outputs: readonly Storage[]): Step[] {
  const live = new Set(outputs);
  const kept: Step[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i]!;
    if (writtenBy(step).length === 0 && !step.outputs.some(({ storage }) => live.has(storage))) continue;
    for (const { storage } of step.inputs) live.add(storage);
    kept.push(step);
  }
  return kept.reverse();
}
