import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface FileDescription {
  readonly file: string;
  readonly bytes: number;
  readonly what: string;
}

/** A header that is larger is not looked into here. */
const HEADER_LIMIT = 100_000_000;

/** What each file of a checkpoint's or a model's folder is. */
export async function inspectFolder(folder: string): Promise<FileDescription[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)).sort();
  return Promise.all(
    names.map(async (file) => {
      const path = join(folder, file);
      const bytes = file.endsWith('/') ? 0 : (await stat(path)).size;
      return { file, bytes, what: await whatIs(file, path) };
    }),
  );
}

async function whatIs(file: string, path: string): Promise<string> {
  if (file.endsWith('/')) return 'a folder';
  try {
    if (file.endsWith('.safetensors')) return await tensorsIn(path);
    if (file.endsWith('.json')) return describeJson(file, JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    return `unreadable: ${(error as Error).message}`;
  }
  return '';
}

/** From the header alone; `drivetrain inspect` of the file checks it as well. */
async function tensorsIn(path: string): Promise<string> {
  const file = await open(path);
  try {
    const length = Buffer.alloc(8);
    await file.read(length, 0, 8, 0);
    const bytes = length.readBigUInt64LE();
    if (bytes > HEADER_LIMIT) throw new Error('it is not a safetensors file');
    const header = Buffer.alloc(Number(bytes));
    await file.read(header, 0, header.length, 8);
    const { __metadata__: _, ...tensors } = JSON.parse(header.toString()) as Record<
      string,
      { shape: number[] }
    >;
    const shapes = Object.values(tensors).map(({ shape }) => shape);
    const elements = shapes.reduce((sum, shape) => sum + shape.reduce((size, n) => size * n, 1), 0);
    return `${shapes.length} tensors, ${elements.toLocaleString('en-US')} elements`;
  } finally {
    await file.close();
  }
}

type Json = Readonly<Record<string, unknown>>;

function describeJson(file: string, content: Json): string {
  if (typeof content.format === 'string' && content.format.startsWith('drivetrain-checkpoint/')) {
    const metrics = Object.entries((content.metrics ?? {}) as Json).map(
      ([name, value]) => `${name} ${value}`,
    );
    return ['checkpoint', `step ${content.step}`, `saved ${content.time}`, ...metrics].join(', ');
  }
  if (typeof content.model_type === 'string') {
    const sizes = ['hidden_size', 'num_hidden_layers', 'num_attention_heads', 'vocab_size']
      .filter((name) => content[name] !== undefined)
      .map((name) => `${name} ${content[name]}`);
    return [`configuration of a ${content.model_type} model`, ...sizes].join(', ');
  }
  if (file === 'tokenizer.json') {
    const { type = 'unknown' } = (content.model ?? {}) as { type?: string };
    return `tokenizer, ${type}`;
  }
  if (file === 'tokenizer_config.json') return 'configuration of the tokenizer';
  return 'JSON';
}
