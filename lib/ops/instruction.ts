import { binding, DrivetrainError } from '../native/index.js';
import { DTYPES, type Storage, type Tensor } from '../tensor/index.js';
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
    for (const dimension of operand.shape) page[i++] = dimension;
    for (const stride of operand.strides) page[i++] = stride;
  }
  for (const number of numbers) page[i++] = number;
  return i;
}

/** The head of a program, in the layout of native/program/program.h: instructions, commit start, bytes of scratch. */
export const PROGRAM_WORDS = 3;
