/** Semantic search over the State of the Union addresses: sentences as vectors, trained from scratch. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  BertModel,
  device,
  Generator,
  readTextEmbedder,
  readTokenizer,
  TextEmbedder,
  writeBert,
} from 'drivetrain';
import { heading, keyValues, table } from '#text';
import { loadAddresses, splitAddresses } from '../text-classifier/addresses.js';
import { tokenizerJson, trainWordPieces } from '../text-classifier/word-pieces.js';
import { byTfIdf, byVectors, dot, type Likeness, type Recall, recallOf } from './retrieval.js';
import { type Pair, pairsOf, type Sentence, sentencesOf } from './sentences.js';
import { train } from './train.js';

/** build/embeddings */
const FOLDER = join(import.meta.dirname, '../../embeddings');
const MAX_TOKENS = 96;
const NEAREST = 3;

const FULL = { pieces: 8000, epochs: 2, pairs: Infinity, asked: 1000, searched: Infinity };
const QUICK = { pieces: 4000, epochs: 1, pairs: 6000, asked: 300, searched: 2000 };

const QUERIES = [
  'We need more schools and better teachers for our children.',
  'The navy needs new ships.',
  'Farmers suffer from low prices for their crops.',
  'Disputes with Great Britain about the fisheries should be settled by arbitration.',
];

const USAGE = `Usage: npm run embeddings -- [--quick] [--model FOLDER] [--seed N] [--threads N] [--out FOLDER] [--json FILE]
  --quick         fewer sentences, for a first look: some seconds
  --model FOLDER  searches with a model in Hugging Face's layout instead of training one
  --seed N        of the split, the weights and the order of training; 1 unless given
  --threads N     native threads (the results do not depend on it)
  --out FOLDER    where the model is saved; build/embeddings unless given
  --json FILE     writes the figures to FILE`;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** How like each other the first sentence of a pair and the second of another are, by vectors of a model. */
async function likenessBy(embedder: TextEmbedder, pairs: readonly Pair[]): Promise<Likeness> {
  const [before, after] = textsOf(pairs);
  return byVectors(await embedder.embed(before), await embedder.embed(after));
}

const textsOf = (pairs: readonly Pair[]): [before: string[], after: string[]] => [
  pairs.map(([before]) => before.text),
  pairs.map(([, after]) => after.text),
];

function showNearest(
  query: string,
  vector: Float32Array,
  sentences: readonly Sentence[],
  vectors: Float32Array[],
) {
  const cosines = vectors.map((other) => dot(vector, other));
  const nearest = [...cosines.keys()].sort((a, b) => cosines[b]! - cosines[a]!).slice(0, NEAREST);
  console.log(`\n  ${query}`);
  console.log(
    keyValues(
      nearest.map(
        (i) => [cosines[i]!.toFixed(3), `${sentences[i]!.text} (${sentences[i]!.address})`] as const,
      ),
    ),
  );
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      model: { type: 'string' },
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
  const { pieces, epochs, pairs, asked, searched } = options.quick ? QUICK : FULL;

  console.log(heading('Sentences'));
  const split = splitAddresses(await loadAddresses(), seed);
  const learn = pairsOf(split.train, 1).slice(0, pairs);
  const test = pairsOf(split.test, 2);
  const every = test.filter((_, i) => i % Math.max(1, Math.floor(test.length / asked)) === 0).slice(0, asked);
  const sentences = sentencesOf(split.test).slice(0, searched);
  console.log(
    keyValues([
      [
        'to learn from',
        `${learn.length} pairs of sentences that follow each other, of ${split.train.length} addresses`,
      ],
      ['to be tested with', `${every.length} pairs of ${split.test.length} other addresses`],
      ['processor', `${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`],
    ]),
  );

  let random: Recall | undefined;
  if (options.model === undefined) {
    console.log(heading('Training: which sentence follows?'));
    const vocabulary = trainWordPieces(
      split.train.map(({ text }) => text),
      pieces,
    );
    await mkdir(options.out, { recursive: true });
    await writeFile(join(options.out, 'tokenizer.json'), JSON.stringify(tokenizerJson(vocabulary)));
    const tokenizer = await readTokenizer(options.out, { maxLength: MAX_TOKENS });
    const model = new BertModel(
      {
        vocabSize: pieces,
        hiddenSize: 128,
        numHiddenLayers: 1,
        numAttentionHeads: 4,
        intermediateSize: 256,
        maxPositionEmbeddings: MAX_TOKENS,
        hiddenDropoutProb: 0.2,
        attentionProbsDropoutProb: 0,
        initializerRange: 0.02,
      },
      { generator: new Generator(seed), pooler: false },
    ).eval();
    random = recallOf(every.length, await likenessBy(new TextEmbedder(model, tokenizer), every));
    await train(model, tokenizer, learn, { epochs, seed });
    await writeBert(options.out, model);
  }
  const embedder = await readTextEmbedder(options.model ?? options.out);

  console.log(heading(`The sentence that follows, among ${every.length} of other addresses`));
  const learnt = sentencesOf(split.train).map(({ text }) => text);
  const byWords = byTfIdf(...textsOf(every), learnt);
  const byModel = await likenessBy(embedder, every);
  const [tfIdf, recall, both] = [
    recallOf(every.length, byWords),
    recallOf(every.length, byModel),
    recallOf(every.length, (query, candidate) => byWords(query, candidate) + byModel(query, candidate)),
  ];
  const row = (name: string, { at1, at10 }: Recall) => [name, percent(at1), percent(at10)];
  console.log(
    table(
      ['', 'first', 'among the first ten'],
      [
        row('chance', { at1: 1 / every.length, at10: 10 / every.length }),
        ...(random === undefined ? [] : [row('weights at random', random)]),
        row('tf-idf', tfIdf),
        row('embeddings', recall),
        row('tf-idf and embeddings, cosines added', both),
      ],
    ),
  );

  console.log(heading('Search'));
  const begin = performance.now();
  const vectors = await embedder.embed(sentences.map(({ text }) => text));
  const textsPerSecond = (1000 * sentences.length) / (performance.now() - begin);
  const asVectors = await embedder.embed(QUERIES);
  console.log(
    keyValues([
      [
        'sentences',
        `${sentences.length} of the test, ${Math.round(textsPerSecond)} texts/s with the tokenizer`,
      ],
    ]),
  );
  QUERIES.forEach((query, i) => {
    showNearest(query, asVectors[i]!, sentences, vectors);
  });

  if (options.json !== undefined) {
    const figures = {
      asked: every.length,
      recall: { random, tfIdf, embeddings: recall, both },
      textsPerSecond,
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
