import { binding, commandPage, Status } from '../native/index.js';
import { busy, empty, type Storage, type Tensor } from '../tensor/index.js';
import { Bindings } from './bindings.js';
import { instructionWords, type Place, writeInstruction } from './instruction.js';
import type { Op } from './op.js';

/** Runs one op now, into fresh tensors. Throws `DT_TENSOR_BUSY` where an awaited run holds an operand. */
export function execute<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
  for (const input of inputs) if (input.storage.kind === 'symbolic') input.toArray();
  const outputs = op.infer(inputs, attrs).map(({ shape, dtype }) => empty(shape, dtype));
  const operands = [...inputs, ...outputs];
  const numbers = op.numbers?.(attrs, inputs) ?? [];
  const bindings = new Bindings();
  const places = operands.map((operand, i): Place => {
    const written = i >= inputs.length || (op.writes?.(i) ?? false);
    return { slot: bindings.slotOf(operand.storage, written), byteOffset: 0 };
  });
  const page = commandPage(bindings.words + instructionWords(operands, numbers));
  const at = bindings.write(page);
  const placeOf = (storage: Storage): Place =>
    places[operands.findIndex((operand) => operand.storage === storage)]!;
  writeInstruction(page, at, op.name, operands, numbers, placeOf);
  if (binding.execute(bindings.borrowed) === Status.busy) {
    for (const output of outputs) output.dispose();
    throw busy();
  }
  return outputs;
}
