import { DrivetrainError } from '../native/index.js';
import { checkTensor, crossEntropyRows, mean, mul, sub, transient } from '../ops/index.js';
import { formatShape, sameShape, type Tensor } from '../tensor/index.js';

/**
 * The mean over rows of the negative log-likelihood of labels [n] (i32 or i64) under softmax(logits [n, classes]). A
 * label outside [0, classes) gives NaN, and so does a training step that meets one: check labels when they are read.
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return transient(() => mean(crossEntropyRows(logits, labels)));
}

/** The mean of the squared differences of two tensors of one shape and dtype; nothing is broadcast. */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  checkTensor('mseLoss', prediction);
  checkTensor('mseLoss', target);
  if (!sameShape(prediction.shape, target.shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a target of the prediction's shape ${formatShape(prediction.shape)} for mseLoss but received ${formatShape(target.shape)}; nothing is broadcast, as the mean would then be over pairs that do not belong together: use reshape or broadcastTo.`,
    );
  }
  return transient(() => {
    const difference = sub(prediction, target);
    return mean(mul(difference, difference));
  });
}
