import { DrivetrainError } from '../native/index.js';
import { crossEntropy, type Module, mseLoss } from '../nn/index.js';
import { add, checkTensor, div, logSoftmax, mul, softmax, sub, sum, transient } from '../ops/index.js';
import { checkOptions, formatShape, sameShape, type Tensor } from '../tensor/index.js';

export interface DistillationOptions {
  /** What both logits are divided by; 2 unless given. The higher, the more the small probabilities count. */
  temperature?: number;
  /** The share of the teacher in the loss, from 0 to 1, the labels having the rest; 0.5 unless given. */
  alpha?: number;
}

/**
 * The loss of a student that learns from a teacher and from labels:
 * alpha · T² · KL(softmax(teacher / T) ‖ softmax(student / T)) + (1 − alpha) · crossEntropy(student, labels), each the mean
 * over rows; T² keeps the gradients' size. Logits [n, classes] (f32 or f64), labels [n] (i32 or i64). Hinton, Vinyals and
 * Dean, arXiv:1503.02531.
 */
export function distillationLoss(
  studentLogits: Tensor,
  teacherLogits: Tensor,
  labels: Tensor,
  options: DistillationOptions = {},
): Tensor {
  checkTensor('distillationLoss', studentLogits);
  checkTensor('distillationLoss', teacherLogits);
  checkOptions('distillationLoss', options, ['temperature', 'alpha']);
  const { temperature = 2, alpha = 0.5 } = options;
  if (!(typeof temperature === 'number' && temperature > 0 && temperature < Infinity)) {
    throw invalid('a finite temperature above 0', temperature);
  }
  if (!(typeof alpha === 'number' && alpha >= 0 && alpha <= 1)) throw invalid('alpha from 0 to 1', alpha);
  if (studentLogits.rank !== 2 || !sameShape(studentLogits.shape, teacherLogits.shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected logits [n, classes] of one shape for distillationLoss but received ${formatShape(studentLogits.shape)} and ${formatShape(teacherLogits.shape)}.`,
    );
  }
  return transient(() => {
    const [student, teacher] = [div(studentLogits, temperature), div(teacherLogits, temperature)];
    const differences = sub(logSoftmax(teacher), logSoftmax(student));
    const divergence = sum(mul(softmax(teacher), differences));
    const soft = mul(divergence, (alpha * temperature ** 2) / studentLogits.shape[0]!);
    return add(soft, mul(crossEntropy(studentLogits, labels), 1 - alpha));
  });
}

/**
 * The mean of the squared differences between features of a student and of its teacher, of one shape; where a student is
 * narrower, `regressor` (a `Linear`, trained with it) brings its features to the teacher's width first. Romero and others,
 * arXiv:1412.6550.
 */
export function featureLoss(student: Tensor, teacher: Tensor, regressor?: Module): Tensor {
  return transient(() => mseLoss(regressor === undefined ? student : regressor.forward(student), teacher));
}

function invalid(expected: string, received: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for distillationLoss but received ${String(received)}.`,
  );
}
