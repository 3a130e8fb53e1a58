import { DrivetrainError, inspect } from '../native/index.js';
import { perhapsMeant } from '../text/index.js';

/** Refuses options that are no object, or that have another key than `known`: a misspelt one must not pass in silence. */
export function checkOptions(operation: string, options: object, known: readonly string[]): void {
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  if (options === undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected the options of ${operation}, some of which have no default, but received none: { ${known.join(', ')} } is what there is.`,
    );
  }
  const unknown = isObject ? Object.keys(options).filter((key) => !known.includes(key)) : [];
  if (isObject && unknown.length === 0) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected { ${known.join(', ')} } as options of ${operation} but received ${isObject ? unknown.join(', ') : inspect(options)}${perhapsMeant(unknown, known)}`,
  );
}
