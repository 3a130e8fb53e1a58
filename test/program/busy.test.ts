import { AdamW, add, assign, compile, ones, tensor, transpose, wrap, zeros } from 'drivetrain';
import { expect, test } from 'vitest';
import { big, failure, slowly } from './support.js';

/** Begins an awaited run that writes `target`, and ends a while later. */
function slowWrite(target = zeros([4])) {
  const source = tensor([1, 2, 3, 4]);
  const run = compile((x) => {
    const late = slowly(x, 600);
    assign(target, source);
    return late;
  })(big());
  return { target, run };
}

const uses = {
  'an eager op': (t: ReturnType<typeof zeros>) => add(t, 1),
  'an eager op on a view': (t: ReturnType<typeof zeros>) => add(transpose(t.viewAs([2, 2])), 1),
  'an eager write': (t: ReturnType<typeof zeros>) => assign(t, ones([4])),
  'an optimizer step': (t: ReturnType<typeof zeros>) => new AdamW([t]).step([ones([4])]),
  runSync: (t: ReturnType<typeof zeros>) => compile((x) => add(x, 1)).runSync(t),
  'runSync with a captured tensor': (t: ReturnType<typeof zeros>) => compile(() => add(t, 1)).runSync(),
  toArray: (t: ReturnType<typeof zeros>) => t.toArray(),
  item: (t: ReturnType<typeof zeros>) => t.viewAs([1], [1], 2).item(),
  toJSON: (t: ReturnType<typeof zeros>) => JSON.stringify(t),
  'another tensor on the same memory': (t: ReturnType<typeof zeros>) => wrap(t.borrow()).toArray(),
};

for (const [name, use] of Object.entries(uses)) {
  test(`while a run writes a tensor, ${name} throws DT_TENSOR_BUSY`, async () => {
    const { target, run } = slowWrite();
    const { message } = await failure('DT_TENSOR_BUSY', () => use(target));
    expect(message).toContain('await');
    await run;
    use(target);
  });
}

test('read waits for the run that writes the tensor', async () => {
  const { target, run } = slowWrite();
  expect(await target.read()).toEqual(Float32Array.of(1, 2, 3, 4));
  await run;
});

test('while a run only reads a tensor, others read it, and only writes are refused', async () => {
  const x = big();
  const run = compile((y) => slowly(y, 2000))(x);
  expect(x.toArray()[7]).toBe(0);
  expect(x.viewAs([1], [1], 7).item()).toBe(0);
  add(x, 1).dispose();
  await failure('DT_TENSOR_BUSY', () => assign(x, zeros(x.shape)));
  expect((await run).toArray()[7]).toBe(2000);
});

test('a busy eager op leaks nothing, and does not hold its other operands', async () => {
  const { target, run } = slowWrite();
  const other = ones([4]);
  for (let i = 0; i < 100; i++) await failure('DT_TENSOR_BUSY', () => add(other, target));
  assign(other, zeros([4]));
  await run;
  expect(target.toArray()).toEqual(Float32Array.of(1, 2, 3, 4));
});

test('nobody passes a run that waits to write, so that a tensor about to change is busy too', async () => {
  const target = zeros([4]);
  const reading = compile((x) => [slowly(x, 600), add(target, 1)] as const)(big());
  const { run } = slowWrite(target);
  await failure('DT_TENSOR_BUSY', () => target.toArray());
  await Promise.all([reading, run]);
  expect(target.toArray()).toEqual(Float32Array.of(1, 2, 3, 4));
});
