import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BertForSequenceClassification, readTextClassifier, readTextEmbedder } from 'drivetrain';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../io/support.js';

const examples = join(import.meta.dirname, '../../build/examples');
const TIMEOUT = 120_000;

/** Runs an example in its quick form: what it printed, its figures, and the folder of its model. */
function run(name: string) {
  const out = join(temporaryFolder(), 'model');
  const json = `${out}.json`;
  const args = [join(examples, name, 'main.js'), '--quick', '--out', out, '--json', json];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  return { out, stdout, figures: JSON.parse(readFileSync(json, 'utf8')) };
}

/** Five standard deviations of the share of hits among `count` trials that each hit with probability `chance`. */
const beyondChance = (chance: number, count: number) =>
  chance + 5 * Math.sqrt((chance * (1 - chance)) / count);

test(
  'the text classifier tells marks beyond chance, in f32 and INT8, and leaves a model that is read back',
  async () => {
    const { out, stdout, figures } = run('text-classifier');
    const { bag, f32, int8 } = figures.accuracy;
    const least = beyondChance(1 / 3, figures.test);
    expect(Math.min(bag, f32)).toBeGreaterThan(least);
    expect(Math.abs(int8 - f32)).toBeLessThan(0.02);
    expect(figures.files.int8).toBeLessThan(figures.files.f32);
    expect(stdout).toContain(`${(100 * f32).toFixed(1)} %`);

    const classifier = await readTextClassifier(out);
    expect(classifier.model).toBeInstanceOf(BertForSequenceClassification);
    const [end, nothing] = await classifier.classify([
      'the work is done [MASK] we must begin again',
      'the united [MASK] states of america',
    ]);
    expect(end!.probabilities[0]).toBeLessThan(nothing!.probabilities[0]!);
  },
  TIMEOUT,
);

test(
  'embeddings find the sentence that follows more often than chance and than random weights',
  async () => {
    const { out, figures } = run('embeddings');
    const { random, embeddings } = figures.recall;
    expect(embeddings.at10).toBeGreaterThan(beyondChance(10 / figures.asked, figures.asked));
    expect(embeddings.at10).toBeGreaterThan(random.at10);
    expect(existsSync(join(out, 'model.safetensors'))).toBe(true);
    const embedder = await readTextEmbedder(out);
    const [a, b] = await embedder.embed(['The navy needs ships.', 'The navy needs ships.']);
    expect(a).toEqual(b);
  },
  TIMEOUT,
);

test('an unknown option is refused with the usage', () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(examples, 'text-classifier/main.js'), '--fast'],
    { encoding: 'utf8' },
  );
  expect(status).toBe(1);
  expect(stderr).toContain('Usage: npm run text-classifier');
});
