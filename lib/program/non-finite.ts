import { binding, DrivetrainError } from '../native/index.js';
import type { ChainAttrs } from '../ops/index.js';
import { formatShape } from '../tensor/index.js';
import { writtenBy } from './commit.js';
import type { MemoryPlan } from './plan.js';
import type { Step } from './record.js';

/** The numbers of native/program/program.h. */
const Role = { ignored: 0, read: 1, readFromOutside: 2, written: 3 } as const;

/** Lets native code look for the first non-finite value of each run; `made` are the storages of results. */
export function watchNonFinite(
  program: number,
  steps: readonly Step[],
  { offsets }: MemoryPlan,
  isInside: (operand: Step['inputs'][number]) => boolean,
): void {
  const roles = steps.flatMap((step) => {
    const { op, inputs, outputs } = step;
    const written = new Set([...writtenBy(step), ...outputs]);
    const memory = new Set(
      outputs.map(({ storage }) => offsets.get(storage)).filter((at) => at !== undefined),
    );
    return [...inputs, ...outputs].map((operand, i) => {
      // An infinite constant is meant; the logarithms of attention's sums are infinite where everything is masked; a
      // step's control has a NaN for what it did not look at.
      if (op.name === 'fill' || op.name === 'gradientControl' || op.mayBeNaN?.(i)) return Role.ignored;
      if (op.name === 'scaledDotProductAttention' && i === inputs.length + 1) return Role.ignored;
      if (written.has(operand)) return Role.written;
      // Its memory holds the result by now.
      const at = offsets.get(operand.storage);
      if (at !== undefined && memory.has(at)) return Role.ignored;
      return isInside(operand) ? Role.read : Role.readFromOutside;
    });
  });
  binding.watch(program, Uint8Array.from(roles));
}

/** What the latest runs found first, in words; undefined where all was finite. */
export function foundNonFinite(program: number, steps: readonly Step[]): string | undefined {
  const found = new Float64Array(2);
  if (!binding.takeNonFinite(program, found)) return undefined;
  const step = steps[found[0]!]!;
  const operand = [...step.inputs, ...step.outputs][found[1]!];
  const name = `${describeStep(step)} (instruction ${found[0]} of ${steps.length})`;
  if (operand === undefined) return `The first value that is not finite was made by ${name}.`;
  return `A NaN came in through an input or a captured tensor, ${operand.dtype} ${formatShape(operand.shape)}, and was first read by ${name}.`;
}

/** The error of a step that refuses its gradients; `found` says where the values came from, as far as it is known. */
export function nonFiniteGradients(found = ''): DrivetrainError {
  return new DrivetrainError(
    'DT_NON_FINITE',
    `Expected gradients that are finite (and within maxMagnitude) in a compiled step but received others: nothing was changed. Lower the learning rate, look at the data, or make the optimizer with nonFinite: 'skip' or 'zero'. ${found}`.trimEnd(),
  );
}

/** An op with the shapes of what it reads, and where it was recorded. */
export function describeStep({ op, attrs, inputs, line }: Step): string {
  const name = op.name === 'chain' ? (attrs as ChainAttrs).nodes.map((node) => node.op).join('+') : op.name;
  const shapes = inputs.slice(0, 3).map(({ dtype, shape }) => `${dtype} ${formatShape(shape)}`);
  const more = inputs.length > 3 ? ', …' : '';
  return `${name}(${shapes.join(', ')}${more})${line === undefined ? '' : ` at ${line}`}`;
}
