import { crossEntropyRows, mean, mul, sub, transient } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

/**
 * The mean over rows of the negative log-likelihood of labels [n] (i32 or i64) under softmax(logits [n, classes]). A
 * label outside [0, classes) gives NaN, and so does a training step that meets one: check labels when they are read.
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return transient(() => mean(crossEntropyRows(logits, labels)));
}

/** The mean of the squared differences; same dtype, shapes broadcast. */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  return transient(() => {
    const difference = sub(prediction, target);
    return mean(mul(difference, difference));
  });
}
