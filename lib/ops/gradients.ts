import type { Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { type AttentionAttrs, attentionGrad } from './attention.js';
import { batchNormGrad } from './batch-norm.js';
import { concatGrad } from './concat.js';
import { type ConvAttrs, conv2dGrad } from './convolution.js';
import { cast, embedSlice } from './copy.js';
import { full, fullLike } from './create.js';
import {
  div,
  equal,
  geluGrad,
  greater,
  less,
  mul,
  neg,
  type PowAttrs,
  pow,
  reluGrad,
  sign,
  sub,
  where,
} from './elementwise.js';
import { embeddingGrad } from './embedding.js';
import { type MatmulAttrs, product } from './matmul.js';
import type { View } from './op.js';
import type { Opcode } from './opcodes.js';
import { avgPoolGrad, maxPoolGrad } from './pooling.js';
import { type DropoutAttrs, dropoutOp } from './random.js';
import { type Reduction, sum, sumTo } from './reduce.js';
import {
  type CrossEntropyAttrs,
  crossEntropyGrad,
  layerNormGrad,
  logSoftmaxGrad,
  type NormAttrs,
  rmsNormGrad,
  softmaxGrad,
} from './rows.js';
import { topkGrad } from './topk.js';
import { broadcastTo, permute, reshape, transpose } from './views.js';
import type { Windows } from './windows.js';

/** What a gradient rule has to work with. */
export interface GradientContext {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attrs: unknown;
  /** The gradient of the loss with respect to the first output. */
  readonly dy: Tensor;
  /** Whether the gradient of input `i` is wanted. */
  needs(i: number): boolean;
}

/** The gradient of the loss with respect to each input; undefined where there is none or it is not wanted. */
export type GradientRule = (context: GradientContext) => readonly (Tensor | undefined)[];

/** A rule for an op of one input x and output y. */
const unary =
  (rule: (dy: Tensor, x: Tensor, y: Tensor) => Tensor): GradientRule =>
  ({ dy, inputs, outputs }) => [rule(dy, inputs[0]!, outputs[0]!)];

/** A rule for an op of inputs a and b: one function for the gradient of each, called where it is wanted. */
const binary =
  (
    first: (dy: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor,
    second: (dy: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor,
  ): GradientRule =>
  ({ dy, inputs: [a, b], outputs: [y], needs }) => [
    needs(0) ? first(dy, a!, b!, y!) : undefined,
    needs(1) ? second(dy, a!, b!, y!) : undefined,
  ];

/** dy where `wins(x, other)`, half of it where the two are equal. */
function share(dy: Tensor, x: Tensor, other: Tensor, wins: (x: Tensor, other: Tensor) => Tensor): Tensor {
  return where(wins(x, other), dy, where(equal(x, other), mul(dy, 0.5), 0));
}

/** A reduction's result [outer, inner], repeated along the reduced dimensions of x. */
function spread(y: Tensor, x: Tensor, { outer, reduced, inner }: Reduction): Tensor {
  return reshape(broadcastTo(reshape(y, [outer, 1, inner]), [outer, reduced, inner]), x.shape);
}

/** alpha · aᵀ · dy, laid out as b is: the gradient of a weight that was transposed needs no copy. */
function gradientOfRight(dy: Tensor, a: Tensor, b: Tensor, alpha: number): Tensor {
  if (b.contiguous) return product(transpose(a), dy, { dtype: b.dtype, alpha });
  return transpose(product(transpose(dy), a, { dtype: b.dtype, alpha }));
}

const RULES: Partial<Record<Opcode, GradientRule>> = {
  neg: unary((dy) => neg(dy)),
  abs: unary((dy, x) => mul(dy, sign(x))),
  sign: unary((dy) => fullLike(dy, 0)),
  exp: unary((dy, _, y) => mul(dy, y)),
  log: unary((dy, x) => div(dy, x)),
  sqrt: unary((dy, _, y) => div(mul(dy, 0.5), y)),
  tanh: unary((dy, _, y) => mul(dy, sub(1, mul(y, y)))),
  sigmoid: unary((dy, _, y) => mul(dy, mul(y, sub(1, y)))),
  relu: unary((dy, _, y) => reluGrad(y, dy)),
  gelu: unary((dy, x) => geluGrad(x, dy)),

  add: binary(
    (dy) => dy,
    (dy) => dy,
  ),
  sub: binary(
    (dy) => dy,
    (dy) => neg(dy),
  ),
  mul: binary(
    (dy, _, b) => mul(dy, b),
    (dy, a) => mul(dy, a),
  ),
  div: binary(
    (dy, _, b) => div(dy, b),
    (dy, _, b, y) => neg(div(mul(dy, y), b)),
  ),
  // Equal operands share the gradient, as in PyTorch.
  maximum: binary(
    (dy, a, b) => share(dy, a, b, greater),
    (dy, a, b) => share(dy, b, a, greater),
  ),
  minimum: binary(
    (dy, a, b) => share(dy, a, b, less),
    (dy, a, b) => share(dy, b, a, less),
  ),
  where: ({ dy, inputs: [condition], needs }) => [
    undefined,
    needs(1) ? where(condition!, dy, 0) : undefined,
    needs(2) ? where(condition!, 0, dy) : undefined,
  ],

  // The bounds themselves let it through, as in PyTorch.
  clamp: unary((dy, x, y) => where(equal(x, y), dy, 0)),
  pow: ({ dy, inputs: [x], attrs }) => {
    const { exponent } = attrs as PowAttrs;
    return [exponent === 0 ? fullLike(dy, 0) : mul(mul(dy, exponent), pow(x!, exponent - 1))];
  },

  copy: unary((dy) => dy),
  concat: ({ dy, inputs, attrs }) => concatGrad(dy, inputs, attrs),
  cast: unary((dy, x) => cast(dy, x.dtype)),

  topk: ({ dy, inputs: [x], outputs: [, indices] }) => [topkGrad(indices!, dy, x!.shape.at(-1)!)],
  sum: ({ dy, inputs, attrs }) => [spread(dy, inputs[0]!, attrs as Reduction)],
  // Equal maxima share the gradient.
  max: ({ dy, inputs: [x], outputs: [y], attrs }) => {
    const { outer, reduced, inner } = attrs as Reduction;
    const mask = cast(equal(x!, spread(y!, x!, attrs as Reduction)), x!.dtype);
    const count = sum(reshape(mask, [outer, reduced, inner]), { axis: 1 });
    return [mul(mask, spread(div(dy, count), x!, attrs as Reduction))];
  },

  // Activations are fused into products after differentiation; a beta needs an out, which no recording has.
  matmul: ({ dy, inputs: [a, b, bias], attrs, needs }) => {
    const { alpha = 1 } = attrs as MatmulAttrs;
    return [
      needs(0) ? product(dy, transpose(b!), { dtype: a!.dtype, alpha }) : undefined,
      needs(1) ? gradientOfRight(dy, a!, b!, alpha) : undefined,
      needs(2) ? cast(sumTo(dy, bias!.shape), bias!.dtype) : undefined,
    ];
  },

  softmax: unary((dy, _, y) => softmaxGrad(y, dy)),
  logSoftmax: unary((dy, _, y) => logSoftmaxGrad(y, dy)),
  crossEntropy: ({ dy, inputs: [logits, labels], attrs }) => [
    crossEntropyGrad(logits!, labels!, dy, attrs as CrossEntropyAttrs),
    undefined,
  ],
  layerNorm: ({ dy, inputs: [x, gamma], attrs }) => layerNormGrad(x!, gamma!, dy, (attrs as NormAttrs).eps),
  rmsNorm: ({ dy, inputs: [x, weight], attrs }) => rmsNormGrad(x!, weight!, dy, (attrs as NormAttrs).eps),
  scaledDotProductAttention: ({ dy, inputs, outputs, attrs }) =>
    attentionGrad(dy, outputs, inputs, attrs as AttentionAttrs),
  conv2d: ({ dy, inputs, attrs, needs }) => conv2dGrad(dy, inputs, attrs as ConvAttrs, needs),
  maxPool2d: ({ dy, inputs: [x], outputs: [, indices], attrs }) => [
    maxPoolGrad(indices!, dy, x!, attrs as Windows),
  ],
  avgPool2d: ({ dy, inputs: [x], attrs }) => [avgPoolGrad(dy, x!, attrs as Windows)],
  batchNorm: ({ dy, inputs, outputs, attrs }) => batchNormGrad(dy, inputs, outputs, (attrs as NormAttrs).eps),
  embedding: ({ dy, inputs: [weight, indices] }) => [
    embeddingGrad(indices!, dy, weight!.shape[0]!),
    undefined,
  ],
  // The same positions of the stream give the same mask.
  dropout: ({ dy, inputs: [, rate, state], attrs }) => [
    apply(dropoutOp, [dy, rate!, state!], attrs as DropoutAttrs)[0]!,
  ],
};

/** The gradient rule of an op; undefined where it has none. */
export function gradientRule(name: Opcode): GradientRule | undefined {
  return RULES[name];
}

/** The gradient with respect to the input of a view. */
export function viewGradient(view: View, dy: Tensor, input: Tensor): Tensor | undefined {
  switch (view.name) {
    case 'detach':
      return undefined;
    case 'reshape':
      return reshape(dy, input.shape);
    case 'broadcastTo':
      return sumTo(dy, input.shape);
    case 'permute':
      return permute(
        dy,
        view.order.map((_, axis) => view.order.indexOf(axis)),
      );
    case 'slice':
      return embedSlice(dy, input, view.axis, view.begin);
  }
}

/** The seed of a backward pass: 1, in the loss's dtype. */
export function unitGradient(loss: Tensor): Tensor {
  return full(loss.shape, 1, { dtype: loss.dtype });
}
