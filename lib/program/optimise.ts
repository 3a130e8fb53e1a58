import type { Storage } from '../tensor/index.js';
import { fuseChains } from './chains.js';
import { writtenBy } from './commit.js';
import { shareCommon } from './common.js';
import { fuseProducts } from './fuse.js';
import { packConstants } from './pack.js';
import type { Recording, Step } from './record.js';
import { debug } from './source-line.js';

/**
 * The steps that outputs or lasting state depend on, what is the same computed once, with what follows matrix products
 * fused into them, other elementwise steps fused with each other, and frozen operands packed. With DRIVETRAIN_DEBUG=1
 * elementwise steps stay apart, so that the one that makes a non-finite value can be named.
 */
export function optimise<R>({ steps, outputs }: Recording<R>): Step[] {
  const storages = outputs.map(({ storage }) => storage);
  const needed = shareCommon(removeDead(steps, storages), storages);
  const products = fuseProducts(needed, storages);
  const fused = debug ? products : fuseChains(products, storages);
  // The constants that became parts of instructions are no longer needed.
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
