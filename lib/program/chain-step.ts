import { type ChainAttrs, type ChainNode, chainOp, type Opcode } from '../ops/index.js';
import { sameShape, type Tensor } from '../tensor/index.js';
import { coversStorage } from './plan.js';
import type { Step } from './record.js';
import type { Uses } from './uses.js';

/** An operand of a node, by its number among those of its kind. */
interface Source {
  readonly kind: 'input' | 'node' | 'constant';
  readonly at: number;
}

interface Node {
  readonly op: Opcode;
  readonly sources: readonly Source[];
  readonly number: number;
}

const CONDITIONS: ReadonlySet<Opcode> = new Set<Opcode>(['equal', 'greater']);
/** Ops on whole rows, and how many of their inputs are tensors like the output; the rest are parameters of its rows. */
export const ROW_INPUTS: Partial<Record<Opcode, number>> = {
  softmax: 1,
  logSoftmax: 1,
  softmaxGrad: 2,
  logSoftmaxGrad: 2,
  layerNorm: 1,
  rmsNorm: 1,
};

/** Several steps as one at `place`; only the last one's result is read by others. */
export function chainStep(members: readonly Step[], uses: Uses, place: number): Step {
  const last = members.at(-1)!;
  const output = last.outputs[0]!;
  const inputs = outerInputs(members, uses);
  // The output may take the first one's memory.
  const ending = inputs.findIndex(
    (input) =>
      uses.producerOf(input.storage) !== undefined &&
      uses.lastUse(input.storage) === place &&
      coversStorage(input) &&
      input.storage.byteLength === output.storage.byteLength,
  );
  if (ending > 0) inputs.unshift(...inputs.splice(ending, 1));
  const constants: number[] = [];
  const nodes: Node[] = [];
  const results = new Map<Tensor['storage'], number>();
  const constant = (value: number): Source => {
    const known = constants.findIndex((other) => Object.is(other, value));
    return { kind: 'constant', at: known >= 0 ? known : constants.push(value) - 1 };
  };
  const node = (op: Opcode, sources: readonly Source[], number = 0): Source => ({
    kind: 'node',
    at: nodes.push({ op, sources, number }) - 1,
  });
  for (const { op, attrs, inputs: operands, outputs } of members) {
    const sources = operands.map((operand): Source => {
      const made = results.get(operand.storage);
      if (made !== undefined) return { kind: 'node', at: made };
      const value = constantOf(op.name, operand, uses);
      if (value !== undefined) return constant(value);
      return { kind: 'input', at: inputs.findIndex((input) => sameView(input, operand)) };
    });
    results.set(outputs[0]!.storage, nodesOf(op.name, attrs, sources, node, constant).at);
  }
  const width = members.find(({ op }) => ROW_INPUTS[op.name] !== undefined)?.inputs[0]?.shape.at(-1) ?? 0;
  const attrs: ChainAttrs = { ...placed(nodes, inputs.length, constants), constants, width, output };
  return { ...last, op: chainOp as Step['op'], attrs, inputs, outputs: [output] };
}

/** What members read from memory, each view once. */
export function outerInputs(members: readonly Step[], uses: Uses): Tensor[] {
  const made = new Set(members.map(({ outputs }) => outputs[0]!.storage));
  const found: Tensor[] = [];
  for (const { op, inputs } of members) {
    for (const input of inputs) {
      if (made.has(input.storage) || constantOf(op.name, input, uses) !== undefined) continue;
      if (!found.some((other) => sameView(other, input))) found.push(input);
    }
  }
  return found;
}

/** At most so many numbers are constants of a chain. */
export function mostConstants(members: readonly Step[], uses: Uses): number {
  return members.reduce((sum, { op, inputs }) => {
    const operands = inputs.filter((input) => constantOf(op.name, input, uses) !== undefined);
    return sum + operands.length + (op.name === 'clamp' ? 2 : 0);
  }, 0);
}

/** The number that an operand is everywhere; rows, and conditions, are read from memory. */
function constantOf(op: Opcode, { storage, dtype }: Tensor, uses: Uses): number | undefined {
  return dtype === 'bool' || ROW_INPUTS[op] !== undefined ? undefined : uses.constantOf(storage);
}

function sameView(a: Tensor, b: Tensor): boolean {
  return (
    a.storage === b.storage &&
    a.offset === b.offset &&
    a.dtype === b.dtype &&
    sameShape(a.shape, b.shape) &&
    sameShape(a.strides, b.strides)
  );
}

/** Records an op as nodes, with the kernels that it has when it stands alone; returns the last of them. */
function nodesOf(
  op: Opcode,
  attrs: unknown,
  sources: readonly Source[],
  node: (op: Opcode, sources: readonly Source[], number?: number) => Source,
  constant: (value: number) => Source,
): Source {
  switch (op) {
    case 'clamp': {
      const { min, max } = attrs as { min: number; max: number };
      return node('minimum', [node('maximum', [...sources, constant(min)]), constant(max)]);
    }
    case 'pow': {
      const { exponent } = attrs as { exponent: number };
      return exponent === 2 ? node('mul', [...sources, ...sources]) : node('sqrt', sources);
    }
    case 'layerNorm':
    case 'rmsNorm':
      return node(op, sources, (attrs as { eps: number }).eps);
    default:
      return node(op, sources);
  }
}

/** Gives each result but the last a register, which it leaves after its last use. */
function placed(
  nodes: readonly Node[],
  inputs: number,
  constants: readonly number[],
): Pick<ChainAttrs, 'registers' | 'nodes'> {
  const lastUse = new Map<number, number>();
  nodes.forEach(({ sources }, i) => {
    for (const { kind, at } of sources) if (kind === 'node') lastUse.set(at, i);
  });
  const registerOf: number[] = [];
  const free: number[] = [];
  let registers = 0;
  nodes.forEach(({ op, sources }, i) => {
    const ending = new Set(
      sources.flatMap(({ kind, at }) => (kind === 'node' && lastUse.get(at) === i ? [at] : [])),
    );
    // A result may take the memory of what it is made of only where both have elements of one size.
    const sameSize = (at: number) => CONDITIONS.has(nodes[at]!.op) === CONDITIONS.has(op);
    for (const at of ending) if (sameSize(at)) free.push(registerOf[at]!);
    if (i < nodes.length - 1) registerOf.push(free.pop() ?? registers++);
    for (const at of ending) if (!sameSize(at)) free.push(registerOf[at]!);
  });
  const numberOf = ({ kind, at }: Source): number => {
    if (kind === 'input') return at;
    return inputs + (kind === 'node' ? registerOf[at]! : registers + at);
  };
  const output = inputs + registers + constants.length;
  return {
    registers,
    nodes: nodes.map(
      ({ op, sources, number }, i): ChainNode => ({
        op,
        sources: sources.map(numberOf),
        target: i === nodes.length - 1 ? output : inputs + registerOf[i]!,
        number,
      }),
    ),
  };
}
