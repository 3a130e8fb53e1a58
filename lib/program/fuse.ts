import { type Activation, type Int8Attrs, type MatmulAttrs, type Opcode, QUANTIZES } from '../ops/index.js';
import { type DType, type Storage, sameShape, type Tensor } from '../tensor/index.js';
import { writtenBy } from './commit.js';
import type { Step } from './record.js';

/** What the kernel of a product can do to it before it is stored. */
interface Epilogue {
  readonly activations: readonly Activation[];
  /** Whether it scales, and adds a bias and a residual. */
  readonly sums: boolean;
}

const EPILOGUES: Partial<Record<Opcode, Epilogue>> = {
  matmul: { activations: ['relu', 'gelu'], sums: true },
  matmulInt8: { activations: ['relu', 'gelu'], sums: false },
};

/** The range of normal numbers: a divisor whose reciprocal lies outside is divided by. */
const NORMAL: Partial<Record<DType, readonly [number, number]>> = {
  f32: [2 ** -126, (2 - 2 ** -23) * 2 ** 127],
  f64: [2 ** -1022, Number.MAX_VALUE],
};

/** No step. */
const NONE = -1;

/**
 * Scales, bias and residual sums and activations as part of the matrix product before them, in the order of the kernel:
 * activation(alpha · a · b + bias) + residual; of an int8 product, also what quantizes it for the next. Only where nothing
 * else reads the product. It then runs where the last of them stood, so that whatever they read is there; not where
 * something that it reads is written in between.
 */
export function fuseProducts(steps: readonly Step[], outputs: readonly Storage[]): Step[] {
  const uses = countUses(steps, outputs);
  const lastWrite = new Map<Storage, number>();
  const producers = new Map<Storage, number>();
  const fused: (Step | undefined)[] = [];

  /** Where the product stands that `x` is, if `x` is all of one and nothing else reads it. */
  const productOf = ({ storage, contiguous, size }: Tensor): number => {
    const at = uses.get(storage) === 1 ? producers.get(storage) : undefined;
    const step = at === undefined ? undefined : fused[at];
    if (at === undefined || step === undefined || EPILOGUES[step.op.name] === undefined) return NONE;
    if (!contiguous || size !== step.outputs[0]!.size) return NONE;
    return step.inputs.some((input) => (lastWrite.get(input.storage) ?? NONE) > at) ? NONE : at;
  };
  const constantOf = ({ storage }: Tensor): number | undefined => {
    const at = producers.get(storage);
    const step = at === undefined ? undefined : fused[at];
    return step?.op.name === 'fill' ? (step.attrs as { value: number }).value : undefined;
  };

  steps.forEach((step, i) => {
    const products = step.inputs.map(productOf);
    // The later of two, so that the other one is there.
    for (const at of products.filter((found) => found !== NONE).sort((a, b) => b - a)) {
      const absorbed = absorb(fused[at]!, step, products.indexOf(at), constantOf);
      if (absorbed === undefined) continue;
      fused[at] = undefined;
      fused[i] = absorbed;
      break;
    }
    fused[i] ??= step;
    for (const { storage } of writtenBy(step)) lastWrite.set(storage, i);
    for (const { storage } of step.outputs) producers.set(storage, i);
  });
  return fused.filter((step) => step !== undefined);
}

function countUses(steps: readonly Step[], outputs: readonly Storage[]): Map<Storage, number> {
  const uses = new Map<Storage, number>();
  const use = (storage: Storage) => uses.set(storage, (uses.get(storage) ?? 0) + 1);
  for (const { inputs } of steps) for (const { storage } of inputs) use(storage);
  outputs.forEach(use);
  return uses;
}

/** `step`, whose input `operand` is the product, as part of it; undefined where the kernel cannot do that. */
function absorb(
  product: Step,
  step: Step,
  operand: number,
  constantOf: (x: Tensor) => number | undefined,
): Step | undefined {
  const epilogue = EPILOGUES[product.op.name]!;
  const attrs = product.attrs as MatmulAttrs;
  const shape = product.outputs[0]!.shape;
  const withAttrs = (more: Partial<MatmulAttrs>, ...inputs: Tensor[]): Step => ({
    ...product,
    inputs: [...product.inputs, ...inputs],
    attrs: { ...attrs, ...more },
    // The result may be seen through another shape of the same elements.
    outputs: [step.outputs[0]!.viewAs(shape)],
  });
  const other = step.inputs[1 - operand];
  const isSum = attrs.activation === 'none' && !attrs.hasResidual;
  switch (step.op.name) {
    case 'relu':
    case 'gelu':
      if (!isSum || !epilogue.activations.includes(step.op.name)) return undefined;
      return withAttrs({ activation: step.op.name });
    case 'mul':
    case 'div': {
      const constant = epilogue.sums && isSum && !attrs.hasBias ? constantOf(other!) : undefined;
      if (constant === undefined || (attrs.alpha ?? 1) !== 1) return undefined;
      if (step.op.name === 'mul') return withAttrs({ alpha: constant });
      const [least, most] = NORMAL[product.outputs[0]!.dtype]!;
      const alpha = 1 / constant;
      const normal = operand === 0 && Math.abs(alpha) >= least && Math.abs(alpha) <= most;
      return normal ? withAttrs({ alpha }) : undefined;
    }
    case 'add': {
      if (!epilogue.sums || attrs.hasResidual) return undefined;
      const bias = isSum && !attrs.hasBias ? asBias(other!, shape.at(-1)!) : undefined;
      if (bias !== undefined) return withAttrs({ hasBias: true }, bias);
      const residual = asResidual(other!, shape);
      return residual && withAttrs({ hasResidual: true }, residual);
    }
    case 'quantizeLinear': {
      const { parts, output } = product.attrs as Int8Attrs;
      if (product.op.name !== 'matmulInt8' || operand !== 0 || output !== 'f32') return undefined;
      const quantized = step.outputs[0]!;
      return {
        ...product,
        inputs: [...product.inputs, ...step.inputs.slice(1)],
        attrs: { ...attrs, parts: parts | QUANTIZES, output: quantized.dtype },
        outputs: [quantized.viewAs(shape)],
      };
    }
    default:
      return undefined;
  }
}

/** A vector that was broadcast over rows, as [n]. */
function asBias(x: Tensor, n: number): Tensor | undefined {
  const repeated = x.strides.every((stride, axis) => axis === x.rank - 1 || stride === 0);
  return repeated && x.shape.at(-1) === n && x.strides.at(-1) === 1 ? x.viewAs([n]) : undefined;
}

/** A tensor that is added to all of a product, in the product's shape; its rows have no gaps. */
function asResidual(x: Tensor, shape: readonly number[]): Tensor | undefined {
  if (sameShape(x.shape, shape)) return x.strides.at(-1) === 1 ? x : undefined;
  return x.contiguous ? x.viewAs(shape) : undefined;
}
