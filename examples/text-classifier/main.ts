/** A text classifier, trained from scratch: which mark stood here? */

import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  BertForSequenceClassification,
  device,
  Generator,
  quantize,
  readTextClassifier,
  readTokenizer,
  type TextClass,
  TextClassifier,
  writeBert,
  writeCompressed,
} from 'drivetrain';
import { heading, keyValues, paint, styleOf, table } from '#text';
import { loadAddresses, splitAddresses } from './addresses.js';
import { inTwoBags, trainBaseline } from './baseline.js';
import { GAP, MARKS, type Sample, samplesOf } from './marks.js';
import { mcNemar, wilson } from './statistics.js';
import { type Encoded, encode, hitsOf, train } from './train.js';
import { SPECIAL, tokenizerJson, trainWordPieces } from './word-pieces.js';

/** build/text-classifier */
const FOLDER = join(import.meta.dirname, '../../text-classifier');
const SHOWN = 6;

const MAX_TOKENS = 128;
const SHAPE = {
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  intermediateSize: 256,
  attentionProbsDropoutProb: 0,
  // The paper's 0.02 is for layers twelve times as wide.
  initializerRange: 0.05,
};

const FULL = { pieces: 4000, epochs: 3, perMark: { train: 50_000, validation: 2000, test: 4000 } };
const QUICK = { pieces: 1000, epochs: 1, perMark: { train: 9000, validation: 500, test: 1000 } };

/** Sentences that no address has. */
const OWN = [
  `we came home late last night [MASK] the children were already asleep`,
  `we came [MASK] home late last night the children were already asleep`,
  `the farmers [MASK] the miners and the railroad men have asked for our help`,
  `if the senate agrees [MASK] we shall begin the work before the winter`,
  `what should we do now [MASK] i believe that the answer is plain`,
];

const USAGE = `Usage: npm run text-classifier -- [--quick] [--seed N] [--threads N] [--out FOLDER] [--json FILE]
  --quick       fewer texts, for a first look: some seconds
  --seed N      of the split, the samples, the weights and the order of training; 1 unless given
  --threads N   native threads (the results do not depend on it)
  --out FOLDER  where the model is saved; build/text-classifier unless given
  --json FILE   writes the figures to FILE`;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const kilobytes = (bytes: number) => `${(bytes / 1024).toFixed(0)} kB`;

interface Said {
  readonly classes: readonly TextClass[];
  /** With tokenizer and all. */
  readonly textsPerSecond: number;
}

/** What a classifier says of each text. */
async function classify(classifier: TextClassifier, texts: readonly string[]): Promise<Said> {
  const begin = performance.now();
  const classes = await classifier.classify(texts);
  return { classes, textsPerSecond: (1000 * texts.length) / (performance.now() - begin) };
}

const hitsAmong = ({ classes }: Said, samples: readonly Sample[]) =>
  samples.map(({ label }, i) => classes[i]!.label === MARKS[label]);

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

async function show(classifier: TextClassifier, texts: readonly { text: string; label?: number }[]) {
  const style = styleOf();
  const classes = await classifier.classify(texts.map(({ text }) => text));
  texts.forEach(({ text, label }, i) => {
    const { label: said, score } = classes[i]!;
    const isRight = label === undefined || MARKS[label] === said;
    const verdict = paint(`⟨${said}⟩`, isRight ? 'green' : 'red', style);
    const truth = isRight ? '' : `, where stood ${MARKS[label]}`;
    console.log(`  ${text.replace(GAP, verdict)}  ${paint(`${percent(score)} sure${truth}`, 'dim', style)}`);
  });
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
  if (options.threads !== undefined) device.setThreads(Number(options.threads));
  const { isa, threads } = device.info();
  const { pieces, epochs, perMark } = options.quick ? QUICK : FULL;

  console.log(heading('Which mark stood here?'));
  const split = splitAddresses(await loadAddresses(), seed);
  const vocabulary = trainWordPieces(
    split.train.map(({ text }) => text),
    pieces,
  );
  await mkdir(options.out, { recursive: true });
  await writeFile(join(options.out, 'tokenizer.json'), JSON.stringify(tokenizerJson(vocabulary)));
  const tokenizer = await readTokenizer(options.out, { maxLength: MAX_TOKENS });
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
  const bagHits = await hitsOf(bags.model, test);
  const two = (part: readonly Encoded[]) => inTwoBags(part, pieces, gap);
  const twoBags = await trainBaseline(2 * pieces, two(learn), two(validation), seed);
  const twoHits = await hitsOf(twoBags.model, two(test));
  console.log(
    keyValues([
      ['one bag', `${percent(shareOf(bagHits))}; L2 penalty ${bags.penalty}, chosen on validation`],
      ['before, after', `${percent(shareOf(twoHits))}; a bag each; L2 penalty ${twoBags.penalty}`],
    ]),
  );

  console.log(heading('Training'));
  const model = new BertForSequenceClassification(
    { ...SHAPE, vocabSize: pieces, maxPositionEmbeddings: MAX_TOKENS, labels: MARKS },
    { generator: new Generator(seed) },
  );
  const report = await train(model, learn, validation, { epochs, seed });
  const seconds = report.epochs.reduce((sum, epoch) => sum + epoch.seconds, 0);
  console.log(
    keyValues([['time', `${seconds.toFixed(1)} s for ${report.steps} steps, each one native call`]]),
  );

  console.log(heading('Results'));
  const texts = samples.map(({ text }) => text);
  await writeBert(options.out, model);
  const classifier = await readTextClassifier(options.out);
  const said = await classify(classifier, texts);
  const hits = hitsAmong(said, samples);
  const small = quantize(classifier.model) as BertForSequenceClassification;
  await writeCompressed(join(options.out, 'int8.safetensors'), small);
  const smallSaid = await classify(new TextClassifier(small, classifier.tokenizer), texts);
  const smallHits = hitsAmong(smallSaid, samples);
  const [size, smallSize] = [
    (await stat(join(options.out, 'model.safetensors'))).size,
    (await stat(join(options.out, 'int8.safetensors'))).size,
  ];
  console.log(
    table(
      ['', 'accuracy', '95 % interval', 'file', 'texts/s'],
      [
        row('one bag of tokens', bagHits, ''),
        row('two bags, before and after', twoHits, ''),
        row('transformer, f32', hits, kilobytes(size), said.textsPerSecond),
        row('transformer, int8', smallHits, kilobytes(smallSize), smallSaid.textsPerSecond),
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
      ['saved', `${options.out}; the figures are of the model as it was read back from there`],
    ])}`,
  );

  console.log(heading('Some texts of the test'));
  const every = Math.floor(samples.length / SHOWN);
  await show(
    classifier,
    samples.filter((_, i) => i % every === every >> 1),
  );
  console.log(heading('And of our own'));
  await show(
    classifier,
    OWN.map((text) => ({ text })),
  );

  if (options.json !== undefined) {
    const figures = {
      test: test.length,
      chance: 1 / MARKS.length,
      accuracy: {
        bag: shareOf(bagHits),
        twoBags: shareOf(twoHits),
        f32: shareOf(hits),
        int8: shareOf(smallHits),
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
}

try {
  await main();
} catch (error) {
  const known = error instanceof Error && 'code' in error;
  console.error(known ? `${error.message}\n\n${USAGE}` : error);
  process.exitCode = 1;
}
