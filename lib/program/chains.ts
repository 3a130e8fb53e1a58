import { CHAIN_LIMITS, type Opcode } from '../ops/index.js';
import type { DType, Storage, Tensor } from '../tensor/index.js';
import { chainStep, mostConstants, outerInputs, ROW_INPUTS } from './chain-step.js';
import { coversStorage } from './plan.js';
import type { Step } from './record.js';
import { Uses } from './uses.js';

const ELEMENTWISE: ReadonlySet<Opcode> = new Set<Opcode>([
  ...(['neg', 'abs', 'sign', 'exp', 'log', 'sqrt', 'tanh', 'sigmoid', 'relu', 'gelu'] as const),
  ...(['add', 'sub', 'mul', 'div', 'maximum', 'minimum', 'reluGrad', 'geluGrad'] as const),
  ...(['equal', 'greater', 'where', 'clamp', 'pow'] as const),
]);

/**
 * Elementwise ops, and normalisations of rows among them, that only the next of them reads, as one instruction where the
 * last of them stood. What lies between them is never in memory.
 */
export function fuseChains(steps: readonly Step[], outputs: readonly Storage[]): Step[] {
  const uses = new Uses(steps, outputs);
  const fused: (Step | undefined)[] = [...steps];
  for (let at = steps.length - 1; at >= 0; at--) {
    if (fused[at] === undefined || dtypeOf(steps[at]!) === undefined) continue;
    const members = membersOf(steps, at, uses);
    if (members.length === 1) continue;
    for (const member of members) {
      fused[member] = undefined;
      uses.moveTo(member, at);
    }
    fused[at] = chainStep(
      members.map((member) => steps[member]!),
      uses,
      at,
    );
  }
  return fused.filter((step) => step !== undefined);
}

/** The dtype that a step computes in, where a chain can do it. */
function dtypeOf({ op, attrs, inputs }: Step): DType | undefined {
  const last = inputs.at(-1);
  if (last === undefined || last.size === 0 || (last.dtype !== 'f32' && last.dtype !== 'f64'))
    return undefined;
  if (ROW_INPUTS[op.name] !== undefined) {
    return inputs[0]!.shape.at(-1)! <= CHAIN_LIMITS.width ? last.dtype : undefined;
  }
  if (!ELEMENTWISE.has(op.name)) return undefined;
  const { exponent } = op.name === 'pow' ? (attrs as { exponent: number }) : { exponent: 2 };
  return exponent === 2 || exponent === 0.5 ? last.dtype : undefined;
}

/** The steps, first to last, that can be done together with the one at `sink`. */
function membersOf(steps: readonly Step[], sink: number, uses: Uses): number[] {
  const members = new Set([sink]);
  const { region, outputs } = steps[sink]!;
  const dtype = dtypeOf(steps[sink]!);
  const size = outputs[0]!.size;
  let width = widthOf(steps[sink]!);
  const candidates = new Set<number>();
  const look = (at: number) => {
    for (const { storage } of steps[at]!.inputs) {
      const producer = uses.producerOf(storage);
      if (producer !== undefined) candidates.add(producer);
    }
  };
  look(sink);
  // The latest first: whatever reads a candidate has been asked before.
  while (candidates.size > 0) {
    const at = Math.max(...candidates);
    candidates.delete(at);
    const step = steps[at]!;
    const joins =
      step.region === region &&
      step.outputs[0]!.size === size &&
      dtypeOf(step) === dtype &&
      (width === 0 || widthOf(step) === 0 || widthOf(step) === width) &&
      onlyReadBy(members, step.outputs[0]!, steps, uses) &&
      uses.mayMove(at, sink, members) &&
      fits([...members, at], steps, uses);
    if (!joins) continue;
    members.add(at);
    width ||= widthOf(step);
    look(at);
  }
  return [...members].sort((a, b) => a - b);
}

/** The length of the rows that a step works on as a whole; 0 where it is elementwise. */
function widthOf({ op, inputs }: Step): number {
  return ROW_INPUTS[op.name] === undefined ? 0 : inputs[0]!.shape.at(-1)!;
}

/** Whether all that reads a result is among the members, and reads it element by element as it was made. */
function onlyReadBy(
  members: ReadonlySet<number>,
  result: Tensor,
  steps: readonly Step[],
  uses: Uses,
): boolean {
  return uses.readersOf(result.storage).every(
    (reader) =>
      members.has(reader) &&
      steps[reader]!.inputs.every((input, i) => {
        if (input.storage !== result.storage) return true;
        const parameter = i >= (ROW_INPUTS[steps[reader]!.op.name] ?? Number.POSITIVE_INFINITY);
        return !parameter && input.dtype === result.dtype && coversStorage(input);
      }),
  );
}

function fits(members: readonly number[], steps: readonly Step[], uses: Uses): boolean {
  const chained = members.map((at) => steps[at]!);
  // clamp is two of them.
  const nodes = chained.reduce((sum, { op }) => sum + (op.name === 'clamp' ? 2 : 1), 0);
  if (nodes > CHAIN_LIMITS.nodes || mostConstants(chained, uses) > CHAIN_LIMITS.constants) return false;
  const inputs = outerInputs(chained, uses);
  // Native code computes in the dtype of the first operand that is no condition.
  const isKnown = [...inputs, chained[0]!.outputs[0]!].some(({ dtype }) => dtype !== 'bool');
  return inputs.length <= CHAIN_LIMITS.inputs && isKnown;
}
