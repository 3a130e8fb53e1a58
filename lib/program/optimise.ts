import type { MatmulAttrs } from '../ops/index.js';
import type { Storage } from '../tensor/index.js';
import { writtenBy } from './commit.js';
import type { Recording, Step } from './record.js';

/** The steps that outputs or lasting state depend on, with activations fused into the products before them. */
export function optimise<R>({ steps, outputs }: Recording<R>): Step[] {
  return fuseActivations(removeDead(steps, new Set(outputs.map(({ storage }) => storage))), outputs);
}

function removeDead(steps: readonly Step[], live: Set<Storage>): Step[] {
  const kept: Step[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i]!;
    if (writtenBy(step).length === 0 && !step.outputs.some(({ storage }) => live.has(storage))) continue;
    for (const { storage } of step.inputs) live.add(storage);
    kept.push(step);
  }
  return kept.reverse();
}

/** relu(matmul(…)) as one step, where nothing else reads the product. */
function fuseActivations(steps: readonly Step[], outputs: Recording<unknown>['outputs']): Step[] {
  const uses = new Map<Storage, number>();
  const use = (storage: Storage) => uses.set(storage, (uses.get(storage) ?? 0) + 1);
  for (const { inputs } of steps) for (const { storage } of inputs) use(storage);
  for (const { storage } of outputs) use(storage);
  const producers = new Map<Storage, number>();
  const fused: Step[] = [];
  for (const step of steps) {
    const [input] = step.inputs;
    const at =
      step.op.name === 'relu' && uses.get(input!.storage) === 1 ? producers.get(input!.storage) : undefined;
    const product = at === undefined ? undefined : fused[at]!;
    if (product !== undefined && input!.contiguous && input!.size === product.outputs[0]!.size) {
      const attrs: MatmulAttrs = { activation: 'relu' };
      // The activation's result may be seen through another shape of the same elements.
      const [output] = step.outputs;
      const shaped = output!.viewAs(product.outputs[0]!.shape);
      fused[at!] = { ...product, attrs, outputs: [shaped] };
      continue;
    }
    if (step.op.name === 'matmul' || step.op.name === 'matmulInt8') {
      producers.set(step.outputs[0]!.storage, fused.length);
    }
    fused.push(step);
  }
  return fused;
}
