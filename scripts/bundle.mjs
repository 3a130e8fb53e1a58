// The package carries its JavaScript as one file for each entry and one that they share: importing some ninety modules
// takes longer than all else together. The command, dist/cli, loads little and stays as it is. For `drivetrain build` the
// package carries the headers that the sources need besides; for editors, the TypeScript of what is exported, with maps from the
// declarations to it. `npm pack` calls this before (`bundle`) and after (`restore`) it reads dist/.
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import ts from 'typescript';
import { filesUnder, main, root, runNode } from './shared.mjs';

const ENTRIES = ['index', 'serve/index'];
const DIST = join(root, 'dist');
const KEPT = join(root, 'build/modules');
/** Without it setup compiles anew: what an interrupted `npm pack` leaves in dist/ does not last. */
const STATE = join(root, 'build/setup.json');
const KEPT_STATE = join(KEPT, 'setup.json');
const HEADERS = join(DIST, 'include');
const SOURCES = join(DIST, 'source');
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

/** The modules, as paths in lib/ without an ending, that declare what the entries export. */
function publicModules() {
  const entries = ENTRIES.map((entry) => join(DIST, `${entry}.d.ts`));
  const options = { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext };
  const program = ts.createProgram(entries, { ...options, types: [] });
  const checker = program.getTypeChecker();
  const symbols = entries.flatMap((entry) =>
    checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry))),
  );
  const own = symbols.map((symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
  );
  const files = own.flatMap(({ declarations }) => declarations).map((node) => node.getSourceFile().fileName);
  return [...new Set(files)].map((file) => relative(DIST, file).replace(/\.d\.ts$/, ''));
}

function moveFile(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  renameSync(from, to);
}

/** Puts the sources of public modules beside the declarations, which have maps then. */
function addSources() {
  const mapped = join(root, 'build/declarations');
  runNode('node_modules/typescript/bin/tsc', [
    ...['-p', 'tsconfig.json', '--emitDeclarationOnly', '--declarationMap', '--outDir', mapped],
  ]);
  for (const name of publicModules()) {
    moveFile(join(DIST, `${name}.d.ts`), join(KEPT, `${name}.d.ts`));
    copyFileSync(join(mapped, `${name}.d.ts`), join(DIST, `${name}.d.ts`));
    const source = join(SOURCES, `${name}.ts`);
    mkdirSync(dirname(source), { recursive: true });
    copyFileSync(join(root, 'lib', `${name}.ts`), source);
    const map = JSON.parse(readFileSync(join(mapped, `${name}.d.ts.map`), 'utf8'));
    map.sources = [relative(dirname(join(DIST, name)), source)];
    writeFileSync(join(DIST, `${name}.d.ts.map`), JSON.stringify(map));
  }
}

async function bundle() {
  rmSync(KEPT, { recursive: true, force: true });
  mkdirSync(KEPT, { recursive: true });
  if (existsSync(STATE)) renameSync(STATE, KEPT_STATE);
  collectHeaders();
  addSources();
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
  for (const folder of [HEADERS, SOURCES]) rmSync(folder, { recursive: true, force: true });
  for (const file of filesUnder(relative(root, KEPT), /\.d\.ts$/)) {
    const own = join(DIST, relative(KEPT, join(root, file)));
    renameSync(join(root, file), own);
    rmSync(`${own}.map`, { force: true });
  }
  if (existsSync(KEPT_STATE)) renameSync(KEPT_STATE, STATE);
}

await main(process.argv[2] === 'restore' ? restore : bundle);
