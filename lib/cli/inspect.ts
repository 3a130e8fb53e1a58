import { stat } from 'node:fs/promises';
import type { SafetensorsInspection } from '../index.js';
import { bytes, escaped, heading, keyValues, type Style, styleOf, table } from '../text/index.js';
import type { Values } from './commands.js';
import { inspectFolder } from './inspect-folder.js';

/** Metadata of one key may be a whole configuration. */
const METADATA_LIMIT = 300;

/** Shows a safetensors file, or the files of a folder. */
export async function run({ json }: Values, [path]: readonly string[]): Promise<number> {
  const isFolder = await stat(path!).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) {
    const files = await inspectFolder(path!);
    if (json) console.log(JSON.stringify(files, null, 2));
    else
      console.log(
        table(
          ['file', 'bytes', 'what'],
          files.map(({ file, bytes, what }) => [file, bytes, what]),
          wide(),
        ),
      );
    return 0;
  }
  const { inspectSafetensors } = await import('../index.js');
  const found = await inspectSafetensors(path!);
  console.log(json ? JSON.stringify(found, null, 2) : describe(found));
  return 0;
}

/** Only a terminal is narrow: names are not cut in what goes to a file or to `grep`. */
function wide(): Style {
  const style = styleOf();
  return process.stdout.isTTY ? style : { ...style, columns: 1000 };
}

function describe({ bytes: size, metadata, tensors }: SafetensorsInspection): string {
  const rows = tensors.map(
    ({ name, dtype, shape, bytes, elements, min, max, mean, std, zeros, notFinite }) => [
      escaped(name),
      dtype,
      `[${shape.join(', ')}]`,
      bytes,
      ...[min, max, mean, std].map(short),
      elements === 0 ? '–' : `${((100 * zeros) / elements).toFixed(1)} %`,
      notFinite,
    ],
  );
  const elements = tensors.reduce((sum, tensor) => sum + tensor.elements, 0);
  const notFinite = tensors.filter((tensor) => tensor.notFinite > 0).map(({ name }) => escaped(name));
  const header = ['tensor', 'dtype', 'shape', 'bytes', 'min', 'max', 'mean', 'std', 'zeros', 'not finite'];
  const totals: [string, string | number][] = [
    ['tensors', tensors.length],
    ['elements', elements],
    ['file', bytes(size)],
    ['not finite', notFinite.length === 0 ? 'none' : notFinite.join(', ')],
  ];
  const about = Object.entries(metadata).map(([key, value]): [string, string] => [
    escaped(key),
    escaped(shorten(value)),
  ]);
  return [
    ...(tensors.length === 0 ? [] : [table(header, rows, wide())]),
    heading('In all'),
    keyValues(totals),
    ...(about.length === 0 ? [] : [heading('Metadata'), keyValues(about)]),
  ].join('\n');
}

/** Four digits. */
function short(value: number): string {
  if (Number.isNaN(value)) return '–';
  return Math.abs(value) >= 1e6 ? value.toExponential(3) : `${Number(value.toPrecision(4))}`;
}

function shorten(text: string): string {
  return text.length <= METADATA_LIMIT
    ? text
    : `${text.slice(0, METADATA_LIMIT)}… (${text.length} characters)`;
}
