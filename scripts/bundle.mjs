// The package carries its JavaScript as one file for each entry and one that they share: importing some ninety modules
// takes longer than all else together. The command, dist/cli, loads little and stays as it is. For `drivetrain build` the
// package carries the headers that the sources need besides. `npm pack` calls this before (`bundle`) and after (`restore`) it reads dist/.
import { copyFileSync, cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { rolldown } from 'rolldown';
import { addDeclarationMaps, removeDeclarationMaps } from './declaration-maps.mjs';
import { main, root } from './shared.mjs';

const ENTRIES = ['index', 'serve/index'];
const DIST = join(root, 'dist');
const KEPT = join(root, 'build/modules');
/** Without it setup compiles anew: what an interrupted `npm pack` leaves in dist/ does not last. */
const STATE = join(root, 'build/setup.json');
const KEPT_STATE = join(KEPT, 'setup.json');
const HEADERS = join(DIST, 'include');
const NODE_API = join(root, 'node_modules/node-api-headers');

/**
 * V8 parses all of it at each start, and short local names without comments take it a fifth less. Stack traces keep the names
 * of functions and classes; lines stay lines, since Node prints the one that threw.
 */
const SMALL = {
  comments: false,
  minify: {
    mangle: { keepNames: true },
    compress: { keepNames: { function: true, class: true } },
    codegen: { removeWhitespace: false },
  },
};

const entryFile = (folder, entry) => join(folder, `${entry}.js`);

function collectHeaders() {
  cpSync(join(NODE_API, 'include'), HEADERS, { recursive: true });
  copyFileSync(join(NODE_API, 'def/node_api.def'), join(HEADERS, 'node_api.def'));
  copyFileSync(join(NODE_API, 'LICENSE'), join(HEADERS, 'LICENSE'));
  copyFileSync(join(root, 'build/generated/opcodes.h'), join(HEADERS, 'opcodes.h'));
}

async function bundle() {
  rmSync(KEPT, { recursive: true, force: true });
  mkdirSync(KEPT, { recursive: true });
  if (existsSync(STATE)) renameSync(STATE, KEPT_STATE);
  collectHeaders();
  addDeclarationMaps(DIST, ENTRIES, KEPT);
  for (const entry of ENTRIES) {
    mkdirSync(dirname(entryFile(KEPT, entry)), { recursive: true });
    copyFileSync(entryFile(DIST, entry), entryFile(KEPT, entry));
  }
  const build = await rolldown({
    input: Object.fromEntries(ENTRIES.map((entry) => [entry, entryFile(DIST, entry)])),
    platform: 'node',
    external: /\/load\.cjs$/,
  });
  // Rolldown names a chunk of its own helpers before it takes it into the shared one, whose name must be free then.
  const chunkFileNames = ({ name }) => (name === 'rolldown-runtime' ? 'runtime.js' : 'shared.js');
  const output = { dir: DIST, format: 'esm', entryFileNames: '[name].js', chunkFileNames };
  await build.write({ ...output, ...SMALL });
}

function restore() {
  for (const entry of ENTRIES) renameSync(entryFile(KEPT, entry), entryFile(DIST, entry));
  rmSync(join(DIST, 'shared.js'), { force: true });
  rmSync(HEADERS, { recursive: true, force: true });
  removeDeclarationMaps(DIST, KEPT);
  if (existsSync(KEPT_STATE)) renameSync(KEPT_STATE, STATE);
}

await main(process.argv[2] === 'restore' ? restore : bundle);
