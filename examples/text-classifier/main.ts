/** A text classifier, trained from scratch: which mark stood here? */

import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { device, Generator, type Module, quantize, readTokenizer, writeSafetensors } from 'drivetrain';
import { heading, keyValues, paint, styleOf, table } from '../digits/terminal.js';
import { loadAddresses, splitAddresses } from './addresses.js';
import { inTwoBags, trainBaseline } from './baseline.js';
import { GAP, MARKS, type Sample, samplesOf } from './marks.js';
import { type Config, openModel, saveModel, TextClassifier } from './model.js';
import { mcNemar, wilson } from './statistics.js';
import { type Encoded, encode, type Predictions, predict, train } from './train.js';
import { SPECIAL, tokenizerJson, trainWordPieces } from './word-pieces.js';

/** build/text-classifier */
const FOLDER = join(import.meta.dirname, '../../text-classifier');
const SHOWN = 6;

const FULL = { pieces: 4000, epochs: 3, perMark: { train: 50_000, validation: 2000, test: 4000 } };
const QUICK = { pieces: 1000, epochs: 1, perMark: { train: 5000, validation: 500, test: 1000 } };

/** Sentences that no address has. */
const OWN = [
  `we came home late last night [MASK] the children were already asleep`,
  `we came [MASK] home late last night the children were already asleep`,
  `the farmers [MASK] the miners and the railroad men have asked for our help`,
  `if the senate agrees [MASK] we shall begin the work before the winter`,
  `what should we do now [MASK] i believe that the answer is plain`,
];

const USAGE = `Usage: npm run text-classifier -- [--quick] [--seed N] [--threads N] [--out FOLDER] [--json FILE]
  --quick       a tenth of the texts, for a first look: some seconds
  --seed N      of the split, the samples, the weights and the order of training; 1 unless given
  --threads N   native threads (the results do not depend on it)
  --out FOLDER  where the model is saved; build/text-classifier unless given
  --json FILE   writes the figures to FILE`;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const kilobytes = (bytes: number) => `${(bytes / 1024).toFixed(0)} kB`;

/** For each sample, whether it was told right. */
function hitsOf({ labels }: Predictions, samples: readonly { label: number }[]): boolean[] {
  return samples.map(({ label }, i) => labels[i] === label);
}

const shareOf = (hits: readonly boolean[]) => hits.filter(Boolean).length / hits.length;

/** In how many addresses the first of two is right more often than the second, of how many. */
function addressesWon(samples: readonly Sample[], first: readonly boolean[], second: readonly boolean[]) {
  const leads = new Map<string, number>();
  samples.forEach(({ address }, i) => {
    leads.set(address, (leads.get(address) ?? 0) + Number(first[i]) - Number(second[i]));
  });
  return { won: [...leads.values()].filter((lead) => lead > 0).length, of: leads.size };
}

function row(name: string, hits: readonly boolean[], size: string, textsPerSecond?: number) {
  const [low, high] = wilson(hits.filter(Boolean).length, hits.length);
  const speed = textsPerSecond === undefined ? '' : Math.round(textsPerSecond);
  return [name, percent(shareOf(hits)), `${percent(low)} – ${percent(high)}`, size, speed];
}

function showTexts(
  texts: readonly { text: string; label?: number }[],
  { labels, probabilities }: Predictions,
) {
  const style = styleOf();
  texts.forEach(({ text, label }, i) => {
    const said = labels[i]!;
    const verdict = paint(`⟨${MARKS[said]}⟩`, label === undefined || label === said ? 'green' : 'red', style);
    const truth = label === undefined || label === said ? '' : `, where stood ${MARKS[label]}`;
    const sure = percent(probabilities[i * MARKS.length + said]!);
    console.log(`  ${text.replace(GAP, verdict)}  ${paint(`${sure} sure${truth}`, 'dim', style)}`);
  });
}

/** Whether the model that was saved says bit by bit the same. */
async function isSaved(folder: string, test: readonly Encoded[], said: Predictions): Promise<boolean> {
  const again = await predict((await openModel(folder)).model, test);
  return again.probabilities.every((value, i) => value === said.probabilities[i]);
}

async function sizeOfSaved(file: string, model: Module): Promise<number> {
  await writeSafetensors(file, model.stateDict());
  return (await stat(file)).size;
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      seed: { type: 'string', default: '1' },
      threads: { type: 'string' },
      out: { type: 'string', default: FOLDER },
      json: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  return values;
}

async function main(): Promise<void> {
  const options = readArguments();
  if (options.help) {
    console.log(USAGE);
    return;
  }
  const seed = Number(options.seed);
  const generator = new Generator(seed);
  if (options.threads !== undefined) device.setThreads(Number(options.threads));
  const { isa, threads } = device.info();
  const { pieces, epochs, perMark } = options.quick ? QUICK : FULL;

  console.log(heading('Which mark stood here?'));
  const split = splitAddresses(await loadAddresses(), seed);
  const vocabulary = trainWordPieces(
    split.train.map(({ text }) => text),
    pieces,
  );
  const config: Config = {
    vocab_size: vocabulary.length,
    hidden_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    intermediate_size: 256,
    hidden_dropout_prob: 0.1,
    max_position_embeddings: 128,
    id2label: Object.fromEntries(MARKS.entries()),
  };
  const model = new TextClassifier(config, generator);
  await saveModel(options.out, model, config, tokenizerJson(vocabulary));
  const tokenizer = await readTokenizer(options.out, { maxLength: config.max_position_embeddings });
  const samples = samplesOf(split.test, perMark.test, seed);
  const [learn, validation, test] = [
    encode(samplesOf(split.train, perMark.train, seed), tokenizer),
    encode(samplesOf(split.validation, perMark.validation, seed), tokenizer),
    encode(samples, tokenizer),
  ];
  const parts = [split.train, split.validation, split.test].map(({ length }) => length);
  console.log(
    keyValues([
      [
        'texts',
        `${learn.length} to learn from, ${validation.length} to choose by, ${test.length} to be tested with, of ${parts.join(', ')} State of the Union addresses: none is in two parts`,
      ],
      [
        'labels',
        `${MARKS.join(', ')}: each as often, so that guessing is right in ${percent(1 / MARKS.length)}`,
      ],
      ['vocabulary', `${vocabulary.length} word pieces, made of the texts to learn from`],
      ['processor', `${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`],
    ]),
  );

  console.log(heading('Baselines: how often each token occurs, whatever their order'));
  const gap = SPECIAL.indexOf(GAP);
  const bags = await trainBaseline(pieces, learn, validation, seed);
  const bagHits = hitsOf(await predict(bags.model, test), test);
  const two = (part: readonly Encoded[]) => inTwoBags(part, pieces, gap);
  const twoBags = await trainBaseline(2 * pieces, two(learn), two(validation), seed);
  const twoHits = hitsOf(await predict(twoBags.model, two(test)), test);
  console.log(
    keyValues([
      ['one bag', `${percent(shareOf(bagHits))}; L2 penalty ${bags.penalty}, chosen on validation`],
      ['before, after', `${percent(shareOf(twoHits))}; a bag each; L2 penalty ${twoBags.penalty}`],
    ]),
  );

  console.log(heading('Training'));
  const report = await train(model, learn, validation, { epochs, seed });
  const seconds = report.epochs.reduce((sum, epoch) => sum + epoch.seconds, 0);
  console.log(
    keyValues([['time', `${seconds.toFixed(1)} s for ${report.steps} steps, each one native call`]]),
  );

  console.log(heading('Results'));
  const said = await predict(model, test);
  const hits = hitsOf(said, test);
  await saveModel(options.out, model, config, tokenizerJson(vocabulary));
  const identical = await isSaved(options.out, test, said);
  const size = (await stat(join(options.out, 'model.safetensors'))).size;
  const small = quantize(model);
  const smallSaid = await predict(small, test);
  const smallSize = await sizeOfSaved(join(options.out, 'model-int8.safetensors'), small);
  console.log(
    table(
      ['', 'accuracy', '95 % interval', 'file', 'texts/s'],
      [
        row('one bag of tokens', bagHits, ''),
        row('two bags, before and after', twoHits, ''),
        row('transformer, f32', hits, kilobytes(size), said.textsPerSecond),
        row('transformer, int8', hitsOf(smallSaid, test), kilobytes(smallSize), smallSaid.textsPerSecond),
      ],
    ),
  );
  const against = mcNemar(hits, twoHits);
  const { won, of } = addressesWon(samples, hits, twoHits);
  console.log(
    `\n${keyValues([
      [
        'beside two bags',
        `right where they are wrong ${against.onlyFirst} times, wrong where they are right ${against.onlySecond} times (McNemar's χ² ${against.chi2.toFixed(0)}; above 10.83 once in a thousand times by chance); ahead in ${won} of ${of} addresses`,
      ],
      [
        'saved',
        `${options.out}; loaded back ${identical ? 'with identical outputs' : 'WITH DIFFERENT OUTPUTS'}`,
      ],
    ])}`,
  );

  console.log(heading('Some texts of the test'));
  const every = Math.floor(samples.length / SHOWN);
  const shown = samples.map((sample, i) => ({ ...sample, i })).filter(({ i }) => i % every === every >> 1);
  showTexts(
    shown,
    await predict(
      model,
      shown.map(({ i }) => test[i]!),
    ),
  );
  console.log(heading('And of our own'));
  const own = OWN.map((text) => ({ text }));
  showTexts(
    own,
    await predict(
      model,
      own.map(({ text }) => ({ ids: tokenizer.encode(text), label: 0 })),
    ),
  );

  if (options.json !== undefined) {
    const figures = {
      test: test.length,
      chance: 1 / MARKS.length,
      accuracy: {
        bag: shareOf(bagHits),
        twoBags: shareOf(twoHits),
        f32: shareOf(hits),
        int8: shareOf(hitsOf(smallSaid, test)),
      },
      mcNemar: against,
      addresses: { won, of },
      files: { f32: size, int8: smallSize },
      textsPerSecond: { f32: said.textsPerSecond, int8: smallSaid.textsPerSecond },
      train: { seconds, samplesPerSecond: report.epochs.at(-1)!.samplesPerSecond },
      isa,
      threads,
    };
    await writeFile(options.json, `${JSON.stringify(figures, null, 2)}\n`);
  }
  if (!identical) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  const known = error instanceof Error && 'code' in error;
  console.error(known ? `${error.message}\n\n${USAGE}` : error);
  process.exitCode = 1;
}
