import { binding, commandPage, Status } from '../native/index.js';
import { busy, empty, type Storage, type Tensor } from '../tensor/index.js';
import { Bindings } from './bindings.js';
import { instructionWords, type Place, writeInstruction } from './instruction.js';
import type { Op } from './op.js';

/** Runs one op now, into fresh tensors. Throws `DT_TENSOR_BUSY` where an awaited run holds an operand. */
export function execute<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
  for (const { storage, dtype } of inputs) if (storage.kind === 'symbolic') storage.view(dtype, 0, 0);
  const outputs: Tensor[] = [];
  try {
    for (const { shape, dtype } of op.infer(inputs, attrs)) outputs.push(empty(shape, dtype));
    executeInto(op, inputs, outputs, op.numbers?.(attrs, inputs) ?? []);
    return outputs;
  } catch (error) {
    for (const output of outputs) output.dispose();
    throw error;
  }
}

function executeInto<A>(
  op: Op<A>,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  numbers: readonly number[],
): void {
  const operands = [...inputs, ...outputs];
  const bindings = new Bindings();
  const slots = operands.map(({ storage }, i) =>
    bindings.slotOf(storage, i >= inputs.length || (op.writes?.(i) ?? false)),
  );
  const page = commandPage(bindings.words + instructionWords(operands, numbers));
  const placeOf = (_: Storage, operand: number): Place => ({ slot: slots[operand]!, byteOffset: 0 });
  writeInstruction(page, bindings.write(page), op.name, operands, numbers, placeOf);
  if (binding.execute(bindings.borrowed) === Status.busy) throw busy();
}
