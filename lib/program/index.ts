export { checkpoint } from './checkpoint.js';
export { type Compiled, compile } from './compile.js';
export type { ExplainedInstruction, ExplainedOperand, Explanation } from './explain.js';
export { align, type MemoryReport } from './plan.js';
export { type Footprint, Program, type RunOptions } from './program.js';
export { grad } from './tape.js';
export { valueAndGrad } from './value-and-grad.js';
