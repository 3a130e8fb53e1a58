// Holds the direction of imports in lib/: a floor imports itself and lower floors, enters another floor only through
// its index, and no files import each other in a circle (imports of types alone may: they are gone at run time).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import ts from 'typescript';
import { main, root, StepError } from './shared.mjs';

const FLOORS =
  'text native tensor ops program io nn models optim train compress observe scheduling serve cli'.split(' ');

/** The string that names the other file, where `node` is an import of any kind. */
function specifierOf(node) {
  if (ts.isImportTypeNode(node)) return node.argument.literal;
  const isCall = ts.isCallExpression(node) && /^(import|require)$/.test(node.expression.getText());
  return isCall ? node.arguments[0] : (node.moduleSpecifier ?? node.moduleReference?.expression);
}

/** Every import of one file of the library: where it stands, which file it names, whether it is for types alone. */
function importsOf(library, file) {
  const text = readFileSync(join(library, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found = [];
  const visit = (node) => {
    const name = specifierOf(node)?.text;
    if (name?.startsWith('.') && !name.endsWith('.node')) {
      const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
      const to = join(dirname(file), name).split(sep).join('/').replace(/js$/, 'ts');
      const typeOnly = ts.isImportTypeNode(node) || (node.importClause ?? node).isTypeOnly === true;
      found.push({ from: file, line, to, typeOnly });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const floorOf = (file) => (file.includes('/') ? file.split('/')[0] : undefined);

/** The command imports the library by the doors that users have: what it needs of it is loaded when it runs, or is not. */
const COMMAND_MAY = ['index.ts', 'serve/index.ts', 'text/index.ts'];

/** What is wrong with one import, or undefined. The library's own index stands above all floors but that of the command. */
function misdirected(library, { from, to }) {
  if (!existsSync(join(library, to))) return 'names no file of the library';
  const [here, there] = [floorOf(from), floorOf(to)];
  if (here === there) return undefined;
  if (here === 'cli')
    return COMMAND_MAY.includes(to) ? undefined : 'enters the library by another door than users have';
  if (there === undefined) return "imports the library's own index";
  if (!FLOORS.includes(there)) return `enters ${there}, which is not a floor`;
  if (here !== undefined && FLOORS.indexOf(there) > FLOORS.indexOf(here))
    return `goes up from ${here} to ${there}`;
  return to === `${there}/index.ts` ? undefined : `enters ${there} by another door than its index`;
}

/** The first circle of imports found from each file, as a list of files. */
function circles(graph) {
  const found = [];
  const finished = new Set();
  const visit = (file, trail) => {
    if (trail.includes(file)) found.push([...trail.slice(trail.indexOf(file)), file]);
    if (finished.has(file) || trail.includes(file)) return;
    for (const { to, typeOnly } of graph.get(file) ?? []) if (!typeOnly) visit(to, [...trail, file]);
    finished.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return found;
}

/** Every complaint about the library in a folder, one line each. */
export function checkImports(library) {
  const files = readdirSync(library, { recursive: true }).filter((name) => /\.c?ts$/.test(name));
  const graph = new Map(
    files.map((name) => name.split(sep).join('/')).map((file) => [file, importsOf(library, file)]),
  );
  const complaints = [...graph.values()].flat().flatMap((found) => {
    const wrong = misdirected(library, found);
    return wrong ? [`${found.from}:${found.line} ${wrong} (${found.to})`] : [];
  });
  return [...complaints, ...circles(graph).map((circle) => `circle: ${circle.join(' → ')}`)];
}

if (process.argv[1] === import.meta.filename) {
  await main(() => {
    const complaints = checkImports(join(root, 'lib'));
    if (complaints.length) throw new StepError(complaints.map((line) => `lib/${line}`).join('\n'));
  });
}
