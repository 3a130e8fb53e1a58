import { join } from 'node:path';
import { makeFolder, readJson, readSafetensors, writeJson, writeSafetensors } from '../io/index.js';
import { DrivetrainError } from '../native/index.js';
import { withoutInitialValues } from '../nn/index.js';
import { assign, cast, slice } from '../ops/index.js';
import { formatShape, sameShape, type Tensor } from '../tensor/index.js';
import { BertForSequenceClassification, BertModel, checkBert } from './bert.js';
import { type BertConfig, completeBertConfig, formatBertConfig, parseBertConfig } from './bert-config.js';
import { type BertName, bertNames, modernName, SUPERFLUOUS } from './bert-names.js';

const CONFIG = 'config.json';
const WEIGHTS = 'model.safetensors';
const WORDS = 'embeddings.word_embeddings.weight';

/**
 * Reads a `BertModel` from a folder in Hugging Face's layout: `config.json` and `model.safetensors`, of a bare encoder or of
 * one under some head, which is left out. Weights become f32. The model is in evaluation mode.
 *
 * Throws `DT_NOT_FOUND`, `DT_CORRUPT_FILE`, `DT_IO`; `DT_INVALID_ARGUMENT` for a configuration that is not supported, or
 * where a tensor is missing or unknown; `DT_SHAPE_MISMATCH`.
 */
export async function readBertModel(folder: string): Promise<BertModel> {
  return read(folder, (config, names) => {
    const pooler = [...names].some((name) => name.endsWith('pooler.dense.weight'));
    return new BertModel(config, { pooler });
  });
}

/** The same for a `BertForSequenceClassification`. */
export async function readBertForSequenceClassification(
  folder: string,
): Promise<BertForSequenceClassification> {
  return read(folder, (config) => new BertForSequenceClassification(config));
}

/**
 * Writes a model so that it, or Hugging Face's `from_pretrained`, can read it: `config.json` and `model.safetensors` in a
 * folder, which is made where it is missing. The tokenizer's files are the caller's.
 */
export async function writeBert(
  folder: string,
  model: BertModel | BertForSequenceClassification,
): Promise<void> {
  checkBert('writeBert', model);
  const state = model.stateDict();
  const { config } = 'bert' in model ? model.bert : model;
  const rows = { queryKeyValue: 3 * config.hiddenSize, intermediate: config.intermediateSize };
  const named = bertNames(model).flatMap(({ own, file }) => {
    const tensor = state[own];
    if (tensor === undefined || tensor.dtype !== 'f32') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a model of f32 for writeBert but ${own} is ${tensor === undefined ? 'missing: compressed models are written by writeCompressed' : tensor.dtype}.`,
      );
    }
    const expected = rows[own.split('.').at(-2) as keyof typeof rows] ?? tensor.shape[0];
    if (tensor.shape[0] !== expected) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected the ${expected} rows of its configuration in ${own} for writeBert but received ${tensor.shape[0]}: pruned models are written by writeCompressed.`,
      );
    }
    return file.map((name, i) => [name, part(tensor, i, file.length)] as const);
  });
  const content = formatBertConfig(config, model.constructor.name);
  await makeFolder(folder);
  await writeSafetensors(join(folder, WEIGHTS), Object.fromEntries(named), { format: 'pt' });
  await writeJson(join(folder, CONFIG), content);
}

async function read<M extends BertModel | BertForSequenceClassification>(
  folder: string,
  make: (config: BertConfig, names: Iterable<string>) => M,
): Promise<M> {
  const config = parseBertConfig(await readJson(join(folder, CONFIG)));
  const path = join(folder, WEIGHTS);
  const { tensors } = await readSafetensors(path);
  try {
    const sources = new Map(Object.entries(tensors).map(([name, tensor]) => [modernName(name), tensor]));
    checkSizes(completeBertConfig(config), sources, path);
    const model = withoutInitialValues(() => make(config, sources.keys()));
    try {
      load(model, sources, path);
    } catch (error) {
      for (const tensor of Object.values(model.stateDict())) tensor.dispose();
      throw error;
    }
    model.eval();
    return model;
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}

/** Refuses a configuration of another size than the file before memory is taken for it. */
function checkSizes(
  { vocabSize, hiddenSize, numHiddenLayers }: Required<BertConfig>,
  sources: ReadonlyMap<string, Tensor>,
  path: string,
): void {
  const [words] = find({ file: [WORDS] }, sources, true);
  if (words !== undefined) checkShape(WORDS, [vocabSize, hiddenSize], words, path);
  const numbers = [...sources.keys()].flatMap((name) => /(?:^|\.)layer\.(\d+)\./.exec(name)?.[1] ?? []);
  const layers = new Set(numbers).size;
  if (layers === numHiddenLayers) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${numHiddenLayers} layers in ${path}, as ${CONFIG} has it, but found ${layers}.`,
  );
}

function checkShape(name: string, expected: readonly number[], { shape }: Tensor, path: string): void {
  if (sameShape(expected, shape)) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected ${formatShape(expected)} for ${name} in ${path}, as ${CONFIG} has it, but found ${formatShape(shape)}.`,
  );
}

function load(
  model: BertModel | BertForSequenceClassification,
  sources: Map<string, Tensor>,
  path: string,
): void {
  const isBare = !('bert' in model);
  const state = model.stateDict();
  const found = bertNames(model).map((name) => ({ ...name, tensors: find(name, sources, isBare) }));
  const missing = found.flatMap(({ file, tensors }) => file.filter((_, i) => tensors[i] === undefined));
  const used = new Set(found.flatMap(({ tensors }) => tensors));
  const unknown = [...sources]
    .filter(([name, tensor]) => !used.has(tensor) && !SUPERFLUOUS.test(name))
    .map(([name]) => name)
    .filter((name) => !(isBare && /^(classifier|qa_outputs)\./.test(name)));
  if (missing.length > 0 || unknown.length > 0) {
    const list = (what: string, names: string[]) =>
      names.length === 0 ? '' : ` ${what}: ${names.join(', ')}.`;
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected the tensors of a ${model.constructor.name} in ${path} but found others.${list('Missing', missing)}${list('Unknown', unknown)}`,
    );
  }
  const copies = found.flatMap(({ own, file, tensors }) =>
    tensors.map((source, i) => ({
      name: file[i]!,
      target: part(state[own]!, i, file.length),
      source: source!,
    })),
  );
  for (const { name, target, source } of copies) checkShape(name, target.shape, source, path);
  for (const { target, source } of copies) {
    const own = source.dtype === 'f32' ? source : cast(source, 'f32');
    assign(target, own);
    if (own !== source) own.dispose();
  }
}

/** The tensors of a name in a file, whose encoder may stand under `bert.` or not. */
function find(
  { file }: Pick<BertName, 'file'>,
  sources: ReadonlyMap<string, Tensor>,
  isBare: boolean,
): (Tensor | undefined)[] {
  return file.map((name) => sources.get(name) ?? (isBare ? sources.get(`bert.${name}`) : undefined));
}

/** One of `count` equal parts of a tensor's rows. */
function part(tensor: Tensor, index: number, count: number): Tensor {
  const rows = tensor.shape[0]! / count;
  return count === 1 ? tensor : slice(tensor, 0, index * rows, (index + 1) * rows);
}
