// What it costs to call at all: 8 elements, so that nothing else is measured.
import { problem, random } from '../data.mjs';
import { goal } from '../limits.mjs';

export const group = 'call';

const ELEMENTS = 8;
const STEPS = 50;

const inputs = { a: random(ELEMENTS, 1), b: random(ELEMENTS, 2) };

const add = problem({
  op: 'smallAdd',
  inputs,
  size: ELEMENTS,
  expected: (index, { a, b }) => ({ value: a[index] + b[index], error: 1e-6 }),
});

/** Fifty operations, of which every second adds and the others multiply. */
const program = (awaited) =>
  problem({
    op: 'smallProgram',
    steps: STEPS,
    awaited,
    inputs,
    size: ELEMENTS,
    expected: (index, { a, b }) => {
      let value = a[index];
      for (let step = 0; step < STEPS; step++) value = step % 2 ? value * b[index] : value + b[index];
      return { value, error: 1e-4 };
    },
  });

export function* rows() {
  const row = { group, threads: 1, unit: 'µs', work: 1 };
  yield { ...row, name: 'add/8', problem: add, limit: goal(0.5) };
  yield { ...row, name: `program/${STEPS}`, problem: program(false), limit: goal(5) };
  yield { ...row, name: `program/${STEPS} awaited`, problem: program(true), limit: goal(30) };
}
