import { binding, commandPage, readRefusal, Status } from '../native/index.js';
import { busy, empty, type Storage, type Tensor } from '../tensor/index.js';
import { bindingWords, writeBinding } from './bindings.js';
import { indexOutOfRange } from './indices.js';
import { instructionWords, type Place, writeInstruction } from './instruction.js';
import type { Op } from './op.js';

const NO_NUMBERS: readonly number[] = [];

/**
 * Runs one op now, into fresh tensors. Throws `DT_TENSOR_BUSY` where an awaited run holds an operand, and
 * `DT_INDEX_OUT_OF_RANGE`; then nothing was written.
 */
export function execute<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
  const outputs: Tensor[] = [];
  try {
    for (const { shape, dtype } of op.infer(inputs, attrs)) outputs.push(empty(shape, dtype));
    executeInto(op, inputs, attrs, outputs);
    return outputs;
  } catch (error) {
    for (const output of outputs) output.dispose();
    throw error;
  }
}

/** The same into `outputs`, which have the shapes and dtypes that the op infers. */
export function executeInto<A>(
  op: Op<A>,
  inputs: readonly Tensor[],
  attrs: A,
  outputs: readonly Tensor[],
): void {
  const operands = [...inputs, ...outputs];
  const numbers = op.numbers?.(attrs, inputs) ?? NO_NUMBERS;
  const page = commandPage(bindingWords(operands.length) + instructionWords(operands, numbers));
  page[0] = operands.length;
  let at = 1;
  for (let i = 0; i < operands.length; i++) {
    const { storage, dtype } = operands[i]!;
    if (storage.kind === 'symbolic') storage.view(dtype, 0, 0);
    const written = i >= inputs.length || (op.writes?.(i) ?? false);
    at = writeBinding(page, at, storage, 0, written);
  }
  writeInstruction(page, at, op.name, operands, numbers, ownSlot);
  const status = binding.execute(operands);
  if (status === Status.busy) throw busy();
  if (status === Status.refused) throw indexOutOfRange(op.indices!(inputs, attrs), inputs, readRefusal());
}

/** Every operand of an eager call has a slot of its own. */
function ownSlot(_: Storage, operand: number): Place {
  return { slot: operand, byteOffset: 0 };
}
