// The bench's own addons, if they were built.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);

/** Throws with the reason where it is missing. */
export function nativeAddon(name) {
  const file = fileURLToPath(new URL(`../build/${name}.node`, import.meta.url));
  if (!existsSync(file)) throw new Error('not built: its library and headers were not found');
  return require(file);
}
