import {
  gelu,
  greater,
  logSoftmax,
  mul,
  relu,
  sigmoid,
  softmax,
  tanh,
  transient,
  where,
} from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { Module } from './module.js';

/** max(x, 0) */
export class ReLU extends Module {
  forward(x: Tensor): Tensor {
    return relu(x);
  }
}

/** x where x > 0, else negativeSlope · x. */
export class LeakyReLU extends Module {
  readonly negativeSlope: number;

  constructor(negativeSlope = 0.01) {
    super();
    this.negativeSlope = negativeSlope;
  }

  forward(x: Tensor): Tensor {
    return transient(() => where(greater(x, 0), x, mul(x, this.negativeSlope)));
  }
}

/** x · Φ(x), by the error function. */
export class GELU extends Module {
  forward(x: Tensor): Tensor {
    return gelu(x);
  }
}

/** x / (1 + e^−x). */
export class SiLU extends Module {
  forward(x: Tensor): Tensor {
    return transient(() => mul(x, sigmoid(x)));
  }
}

export class Tanh extends Module {
  forward(x: Tensor): Tensor {
    return tanh(x);
  }
}

export class Sigmoid extends Module {
  forward(x: Tensor): Tensor {
    return sigmoid(x);
  }
}

/** Along the last dimension. */
export class Softmax extends Module {
  forward(x: Tensor): Tensor {
    return softmax(x);
  }
}

/** Along the last dimension. */
export class LogSoftmax extends Module {
  forward(x: Tensor): Tensor {
    return logSoftmax(x);
  }
}
