import type { Tensor } from '../tensor/index.js';
import type { Op } from './op.js';
import { OPCODES, type Opcode } from './opcodes.js';

/** As in native/ops/chain.cc. */
export const CHAIN_LIMITS = {
  inputs: 8,
  nodes: 32,
  constants: 32,
  /** Of a row that something works on as a whole: several of them fit into a processor's second cache. */
  width: 4096,
} as const;

/** One op of a chain. Values are numbered: inputs first, then registers, constants, and the output. */
export interface ChainNode {
  readonly op: Opcode;
  readonly sources: readonly number[];
  readonly target: number;
  /** The number that the op takes beside its operands; 0 where it takes none. */
  readonly number: number;
}

export interface ChainAttrs {
  readonly constants: readonly number[];
  readonly registers: number;
  /** The length of the rows that normalisations and softmax work on; 0 where there are none. */
  readonly width: number;
  readonly nodes: readonly ChainNode[];
  readonly output: Pick<Tensor, 'shape' | 'dtype'>;
}

const NO_SOURCE = -1;
const SOURCES = 3;

/** Several elementwise ops and normalisations of rows as one instruction, with the bits that they give one by one. */
export const chainOp: Op<ChainAttrs> = {
  name: 'chain',
  infer: (_, { output }) => [output],
  numbers: ({ constants, registers, width, nodes }) => [
    constants.length,
    registers,
    width,
    nodes.length,
    ...constants,
    ...nodes.flatMap(({ op, sources, target, number }) => [
      OPCODES.indexOf(op),
      ...Array.from({ length: SOURCES }, (_, i) => sources[i] ?? NO_SOURCE),
      target,
      number,
    ]),
  ],
  strided: () => true,
  inPlace: true,
};
