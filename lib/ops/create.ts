import { DrivetrainError } from '../native/index.js';
import {
  checkDtype,
  checkHeldBy,
  checkOptions,
  checkShape,
  type DType,
  type Shape,
  type Tensor,
  tensor,
} from '../tensor/index.js';
import { apply } from './apply.js';
import type { Op } from './op.js';

interface Fill {
  shape: Shape;
  dtype: DType;
  value: number;
}

const fillOp: Op<Fill> = {
  name: 'fill',
  infer: (_, { shape, dtype }) => [{ shape: [...shape], dtype }],
  numbers: ({ value, dtype }) => [dtype === 'bool' ? Number(value !== 0) : value],
};

export interface CreateOptions {
  /** 'f32' unless given. */
  dtype?: DType;
}

/** A tensor with every element `value`, which an integer dtype must be able to hold; in bool anything but 0 is true. */
export function full(shape: Shape, value: number, options: CreateOptions = {}): Tensor {
  return filled('full', shape, value, options);
}

function filled(operation: string, shape: Shape, value: number, options: CreateOptions): Tensor {
  checkOptions(operation, options, ['dtype']);
  const { dtype = 'f32' } = options;
  checkShape(shape);
  checkDtype(operation, dtype);
  checkHeldBy(dtype, value);
  return apply(fillOp, [], { shape, dtype, value })[0]!;
}

export function zeros(shape: Shape, options: CreateOptions = {}): Tensor {
  return filled('zeros', shape, 0, options);
}

export function ones(shape: Shape, options: CreateOptions = {}): Tensor {
  return filled('ones', shape, 1, options);
}

/** Every element `value`, in the shape and dtype of `like`. */
export function fullLike(like: Tensor, value: number): Tensor {
  return full(like.shape, value, { dtype: like.dtype });
}

/** 0, 1, … n − 1. */
export function arange(n: number, options: CreateOptions = {}): Tensor {
  checkOptions('arange', options, ['dtype']);
  if (!Number.isSafeInteger(n) || n < 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a whole number from 0 on for arange but received ${n}.`,
    );
  }
  return tensor(
    Array.from({ length: n }, (_, i) => i),
    options,
  );
}
