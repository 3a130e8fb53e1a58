// Compares the public interface, as the compiled declarations have it, with what api/ says it is. With --accept, writes it
// there: the difference then stands in the commit.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor';
import { main, root, StepError } from './shared.mjs';

const accept = process.argv.includes('--accept');
const ENTRIES = { drivetrain: 'index.d.ts', serve: 'serve/index.d.ts' };
const silent = { default: { logLevel: 'none' } };

/** Whether the interface of one entry is as it was; else says so. */
function isAsItWas([name, file]) {
  const configObject = {
    projectFolder: root,
    mainEntryPointFilePath: join(root, 'dist', file),
    compiler: { tsconfigFilePath: join(root, 'tsconfig.json') },
    apiReport: {
      enabled: true,
      reportFileName: `${name}.api.md`,
      reportFolder: join(root, 'api'),
      reportTempFolder: join(root, 'build/api'),
      includeForgottenExports: false,
    },
    docModel: { enabled: false },
    dtsRollup: { enabled: false },
    tsdocMetadata: { enabled: false },
    messages: {
      extractorMessageReporting: silent,
      compilerMessageReporting: silent,
      tsdocMessageReporting: silent,
    },
  };
  const config = ExtractorConfig.prepare({
    configObject,
    configObjectFullPath: undefined,
    packageJsonFullPath: join(root, 'package.json'),
  });
  const messageCallback = (message) => {
    message.handled = true;
  };
  const { apiReportChanged } = Extractor.invoke(config, { localBuild: accept, messageCallback });
  return !apiReportChanged;
}

await main(() => {
  if (!existsSync(join(root, 'dist/index.d.ts'))) {
    throw new StepError('The library is not compiled: run `npm run setup` first.');
  }
  for (const folder of ['api', 'build/api']) mkdirSync(join(root, folder), { recursive: true });
  const changed = Object.entries(ENTRIES).filter((entry) => !isAsItWas(entry));
  if (changed.length === 0 || accept) return;
  const files = changed.map(([name]) => `  diff api/${name}.api.md build/api/${name}.api.md`);
  throw new StepError(
    `The public interface is another one than api/ says:\n${files.join('\n')}\nWhere that is meant, \`npm run format\` accepts it; tell users in CHANGELOG.md.`,
  );
});
