import { binding, DrivetrainError } from '../native/index.js';
import { DTYPES, formatShape, type Storage, type Tensor } from '../tensor/index.js';
import { OPCODES, type Opcode, opcodeHash } from './opcodes.js';

/** Where a storage is found when an instruction runs: a slot, and bytes from its beginning. */
export interface Place {
  readonly slot: number;
  readonly byteOffset: number;
}

if (binding.opcodeHash !== opcodeHash()) {
  throw new DrivetrainError(
    'DT_ADDON_MISMATCH',
    `Expected a native addon built from the same sources as this JavaScript (opcodes ${opcodeHash()}) but it has ${binding.opcodeHash}; reinstall the package, or run \`node scripts/setup.mjs\` in a clone.`,
  );
}

const NUMBERS = new Map<Opcode, number>(OPCODES.map((name, number) => [name, number]));

const HEADER_WORDS = 3;
const OPERAND_WORDS = 4;

/** How many words `writeInstruction` will write. */
export function instructionWords(operands: readonly Tensor[], numbers: readonly number[]): number {
  let words = HEADER_WORDS + numbers.length;
  for (const operand of operands) words += OPERAND_WORDS + 2 * operand.rank;
  return words;
}

/** Writes one instruction in the layout of native/program/program.h; returns where the next one begins. */
export function writeInstruction(
  page: Float64Array,
  at: number,
  opcode: Opcode,
  operands: readonly Tensor[],
  numbers: readonly number[],
  placeOf: (storage: Storage, operand: number) => Place,
): number {
  let i = at;
  page[i++] = NUMBERS.get(opcode)!;
  page[i++] = operands.length;
  page[i++] = numbers.length;
  for (let k = 0; k < operands.length; k++) {
    const operand = operands[k]!;
    const { slot, byteOffset } = placeOf(operand.storage, k);
    const { id, bytes } = DTYPES[operand.dtype];
    page[i++] = slot;
    page[i++] = byteOffset + operand.offset * bytes;
    page[i++] = id;
    page[i++] = operand.rank;
    const { shape, strides } = operand;
    // Native code trusts what it is told, and arrays can be written to, whatever their type says.
    let [last, isEmpty] = [operand.offset, shape.length !== strides.length];
    let isSound = !isEmpty;
    for (let d = 0; d < shape.length; d++) {
      const [dimension, stride] = [shape[d]!, strides[d]!];
      if (dimension === 0) isEmpty = true;
      else last += (dimension - 1) * stride;
      isSound &&= dimension >= 0 && stride >= 0;
      page[i++] = dimension;
    }
    for (let d = 0; d < strides.length; d++) page[i++] = strides[d]!;
    if (!isSound || (!isEmpty && !((last + 1) * bytes <= operand.storage.byteLength))) throw outside(operand);
  }
  for (const number of numbers) page[i++] = number;
  return i;
}

export function outside({ dtype, shape, strides, offset, storage }: Tensor): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a tensor within its ${storage.byteLength} bytes but received ${dtype} of shape ${formatShape(shape)}, strides ${formatShape(strides)} from ${offset} on: its shape or strides were written to; reshape, permute and slice make other views.`,
  );
}

/** The head of a program, in the layout of native/program/program.h: instructions, commit start, bytes of scratch. */
export const PROGRAM_WORDS = 3;
