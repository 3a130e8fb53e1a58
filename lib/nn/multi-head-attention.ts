import { DrivetrainError, inspect } from '../native/index.js';
import {
  checkOneOf,
  checkShapeIs,
  checkTensor,
  equal,
  linear,
  permute,
  reshape,
  slice,
  transient,
  transpose,
  zeros,
} from '../ops/index.js';
import { checkOptions, formatShape, type Tensor } from '../tensor/index.js';
import { attend } from './attend.js';
import { checkWidth } from './checks.js';
import { constant, xavierUniform } from './init.js';
import { Dropout, Linear, type LinearOptions, linearOf } from './layers.js';
import { Module } from './module.js';

export interface MultiHeadAttentionOptions extends LinearOptions {
  /** The probability with which a weight of attention is dropped in training; 0 unless given. */
  dropout?: number;
}

/** Which keys a query may attend to: all unless given. */
export interface AttentionMasks {
  /** bool [batch, keys], true for a key that is padding, as in PyTorch. */
  readonly keyPaddingMask?: Tensor;
  /** Whether query i attends to keys 0 to i only. */
  readonly isCausal?: boolean;
}

/**
 * Attention in several heads: queries [batch, length, embedDim] to the same shape. Batches come first, as with PyTorch's
 * `batch_first=True`. A query whose keys are all masked gives what `outProj` makes of zeros. Vaswani et al.,
 * arXiv:1706.03762.
 *
 * How many heads there are is what the projections are wide: `pruneHeads` makes them narrower than `embedDim`.
 */
export class MultiHeadAttention extends Module {
  readonly embedDim: number;
  /** The width of one head. */
  readonly headDim: number;
  /**
   * To queries, keys and values: weight [3 · numHeads · headDim, embedDim], one under another, Xavier-uniform at first, and
   * bias, zeros at first. Its tensors are `inProjWeight` and `inProjBias` in the state, as in PyTorch.
   */
  readonly inProj: Linear;
  /** From the heads, side by side: weight [embedDim, numHeads · headDim]. */
  readonly outProj: Linear;
  /** Of weights of attention. */
  readonly dropout: Dropout;

  constructor(embedDim: number, numHeads: number, options: MultiHeadAttentionOptions = {}) {
    super();
    checkWidth('embedDim', embedDim);
    checkWidth('numHeads', numHeads);
    checkOptions('MultiHeadAttention', options, ['dropout', 'bias', 'generator']);
    if (embedDim % numHeads !== 0) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected numHeads to divide embedDim, which is ${embedDim}, but received ${numHeads}.`,
      );
    }
    const { dropout: p = 0, bias = true, ...source } = options;
    this.embedDim = embedDim;
    this.headDim = embedDim / numHeads;
    const weight = xavierUniform(zeros([3 * embedDim, embedDim]), source);
    this.inProj = linearOf(weight, bias ? zeros([3 * embedDim]) : undefined);
    this.outProj = new Linear(embedDim, embedDim, { bias, ...source });
    if (this.outProj.bias) constant(this.outProj.bias, 0);
    this.dropout = new Dropout(p, source);
  }

  get numHeads(): number {
    return this.inProj.weight.shape[0]! / (3 * this.headDim);
  }

  get inProjWeight(): Tensor {
    return this.inProj.weight;
  }

  get inProjBias(): Tensor | undefined {
    return this.inProj.bias;
  }

  /** Queries attend to themselves unless keys are given, and values are the keys unless given. */
  forward(query: Tensor, key: Tensor = query, value: Tensor = key, masks: AttentionMasks = {}): Tensor {
    checkOptions('MultiHeadAttention', masks, ['keyPaddingMask', 'isCausal']);
    for (const x of [query, key, value]) this.checkSequence(x, query);
    checkShapeIs('MultiHeadAttention', 'value', value, key.shape);
    const { keyPaddingMask, isCausal = false } = masks;
    if (typeof isCausal !== 'boolean') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected true or false as isCausal of MultiHeadAttention but received ${inspect(isCausal)}.`,
      );
    }
    return transient(() => {
      const [q, k, v] = this.project(query, key, value);
      const mask = keyPaddingMask && keysThatCount(keyPaddingMask, key);
      const attended = attend(q, k, v, this.dropout, { isCausal, ...(mask && { mask }) });
      const [batch, length] = query.shape as [number, number];
      const width = q.shape.at(-3)! * this.headDim;
      return this.outProj.forward(reshape(transpose(attended, -3, -2), [batch, length, width]));
    });
  }

  /** `inProjWeight` and what else the projection has, under PyTorch's names. */
  protected override stateName(child: string, inner: string): string {
    if (child !== 'inProj') return super.stateName(child, inner);
    return `${child}${inner[0]!.toUpperCase()}${inner.slice(1)}`;
  }

  /** Queries, keys and values as [..., batch, heads, length, headDim]; in one product where all are of one sequence. */
  private project(query: Tensor, key: Tensor, value: Tensor): [Tensor, Tensor, Tensor] {
    const { inProj, headDim } = this;
    const [batch, length] = query.shape as [number, number];
    if (query === key && key === value) {
      const projected = inProj.forward(query);
      const heads = projected.shape[2]! / (3 * headDim);
      const parts = permute(reshape(projected, [batch, length, 3, heads, headDim]), [2, 0, 3, 1, 4]);
      const part = (i: number) => slice(parts, 0, i, i + 1);
      return [part(0), part(1), part(2)];
    }
    const project = inProj.constructor === Linear ? partOfLinear(inProj) : partOfOutput(inProj);
    const part = (x: Tensor, i: number) => {
      const projected = project(x, i);
      const heads = projected.shape[2]! / headDim;
      return transpose(reshape(projected, [batch, x.shape[1]!, heads, headDim]), 1, 2);
    };
    return [part(query, 0), part(key, 1), part(value, 2)];
  }

  private checkSequence(x: Tensor, query: Tensor): void {
    checkTensor('MultiHeadAttention', x);
    if (x.rank === 3 && x.shape[2] === this.embedDim && x.shape[0] === query.shape[0]) return;
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected [batch, length, ${this.embedDim}], of one batch, for MultiHeadAttention but received ${formatShape(query.shape)} and ${formatShape(x.shape)}.`,
    );
  }
}

/** One third of what a layer gives. */
type Part = (x: Tensor, i: number) => Tensor;

function partOfLinear({ weight, bias }: Linear): Part {
  const rows = (t: Tensor, i: number) => slice(t, 0, (i * t.shape[0]!) / 3, ((i + 1) * t.shape[0]!) / 3);
  return (x, i) => linear(x, rows(weight, i), bias && rows(bias, i));
}

/** Of what stands in for a `Linear`, such as one of integers: it is asked for everything, once for each sequence. */
function partOfOutput(layer: Module): Part {
  const outputs = new Map<Tensor, Tensor>();
  return (x, i) => {
    const all = outputs.get(x) ?? layer.forward(x);
    outputs.set(x, all);
    const width = all.shape[2]! / 3;
    return slice(all, 2, i * width, (i + 1) * width);
  };
}

/** A mask [batch, 1, 1, keys] of the keys that are no padding. */
function keysThatCount(padding: Tensor, key: Tensor): Tensor {
  const [batch, keys] = key.shape as [number, number];
  checkOneOf('MultiHeadAttention', 'keyPaddingMask', padding, ['bool']);
  checkShapeIs('MultiHeadAttention', 'keyPaddingMask', padding, [batch, keys]);
  return reshape(equal(padding, 0), [batch, 1, 1, keys]);
}
