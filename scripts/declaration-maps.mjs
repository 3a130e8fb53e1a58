// For editors, the package carries the TypeScript of what it exports, and maps from its declarations to it.
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { filesUnder, root, runNode } from './shared.mjs';

const MAPPED = join(root, 'build/declarations');
/** Where no import of a declaration finds them: users would compile them under settings of their own. */
const sourcesIn = (dist) => join(dist, 'source');

/** The modules, as paths in lib/ without an ending, that declare what the entries export. */
function publicModules(dist, entries) {
  const files = entries.map((entry) => join(dist, `${entry}.d.ts`));
  const options = { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext };
  const program = ts.createProgram(files, { ...options, types: [] });
  const checker = program.getTypeChecker();
  const symbols = files.flatMap((file) =>
    checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file))),
  );
  const own = symbols.map((symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
  );
  const declaring = own
    .flatMap(({ declarations }) => declarations)
    .map((node) => node.getSourceFile().fileName);
  return [...new Set(declaring)].map((file) => relative(dist, file).replace(/\.d\.ts$/, ''));
}

function inFolderOf(file) {
  mkdirSync(dirname(file), { recursive: true });
  return file;
}

/** Gives the declarations of public modules in `dist` maps, and the sources; the declarations as they were go to `kept`. */
export function addDeclarationMaps(dist, entries, kept) {
  runNode('node_modules/typescript/bin/tsc', [
    ...['-p', 'tsconfig.json', '--emitDeclarationOnly', '--declarationMap', '--outDir', MAPPED],
  ]);
  for (const name of publicModules(dist, entries)) {
    const declaration = `${name}.d.ts`;
    renameSync(join(dist, declaration), inFolderOf(join(kept, declaration)));
    copyFileSync(join(MAPPED, declaration), join(dist, declaration));
    const source = inFolderOf(join(sourcesIn(dist), `${name}.ts`));
    copyFileSync(join(root, 'lib', `${name}.ts`), source);
    const map = JSON.parse(readFileSync(join(MAPPED, `${declaration}.map`), 'utf8'));
    map.sources = [relative(dirname(join(dist, name)), source)];
    writeFileSync(join(dist, `${declaration}.map`), JSON.stringify(map));
  }
}

/** Takes all of that back. */
export function removeDeclarationMaps(dist, kept) {
  rmSync(sourcesIn(dist), { recursive: true, force: true });
  for (const file of filesUnder(relative(root, kept), /\.d\.ts$/)) {
    const own = join(dist, relative(kept, join(root, file)));
    renameSync(join(root, file), own);
    rmSync(`${own}.map`, { force: true });
  }
}
