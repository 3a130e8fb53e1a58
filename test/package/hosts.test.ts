import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { root } from '../../scripts/shared.mjs';
import { freePort } from '../free-port.js';
import { PROBABILITIES, Project, tool } from './project.js';

const { example } = inject('packed');

/** The first example as a test, with a check of arrays from the test's own realm, and of a file, which takes built-in modules. */
function asTest(runner: string): string {
  const [imports, ...body] = example.split('\n');
  return `import { expect, test } from '${runner}';
${imports}
import { add, wrap, writeSafetensors } from 'drivetrain';
test('the first example', async () => {
${body.join('\n')}
  expect((await predict(x)).shape).toEqual([4, 2]);
  await writeSafetensors('x.safetensors', { x });
  expect(add(wrap(Float32Array.of(1)), wrap(new Float32Array([2]))).toArray()).toEqual(Float32Array.of(3));
});
`;
}

describe('the first example runs', () => {
  test('in Jest, whose realms have arrays of their own', () => {
    const project = new Project('jest', { jest: { transform: {}, testMatch: ['**/*.test.mjs'] } });
    project.write('first.test.mjs', asTest('@jest/globals'));
    const jest = ['--experimental-vm-modules', tool('jest/bin/jest.js'), '--rootDir', '.'];
    expect(project.node(...jest)).toContain('Tests:       1 passed, 1 total');
  });

  test('in vitest', () => {
    const project = new Project('vitest');
    project.write('vitest.config.mjs', 'export default {};');
    project.write('first.test.mjs', asTest('vitest'));
    expect(project.node(join(root, 'node_modules/vitest/vitest.mjs'), 'run')).toMatch(/Tests\s.*1 passed/);
  });

  test('under tsx, and again when a file changes', async () => {
    const project = new Project('tsx');
    project.write('example.ts', example);
    const child = spawn(process.execPath, [tool('tsx/dist/cli.mjs'), 'watch', 'example.ts'], {
      cwd: project.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const times = (count: number) =>
      new Promise<void>((resolve, reject) => {
        const look = () => {
          if (output.split('step 200: loss').length > count) resolve();
        };
        child.stdout.on('data', look);
        child.on('exit', () => reject(new Error(output)));
      });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    try {
      await times(1);
      writeFileSync(join(project.folder, 'example.ts'), `${example}\n// changed\n`);
      await times(2);
    } finally {
      child.removeAllListeners('exit');
      child.kill();
      await once(child, 'exit');
    }
  });

  test('in worker threads, several at once', () => {
    const project = new Project('workers');
    project.write('example.mjs', example);
    project.write(
      'main.mjs',
      `import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
const workers = [1, 2, 3].map(() => new Worker(new URL('example.mjs', import.meta.url)));
for (const [code] of await Promise.all(workers.map((worker) => once(worker, 'exit')))) if (code) process.exit(1);
console.log('all ended');`,
    );
    const output = project.node('main.mjs');
    expect(output.match(/step 200: loss/g)).toHaveLength(3);
    expect(output).toContain('all ended');
  });

  test('with --permission, where addons are allowed; else the error says so', () => {
    const project = new Project('permission');
    project.write('example.mjs', example);
    const flag = process.allowedNodeEnvironmentFlags.has('--permission')
      ? '--permission'
      : '--experimental-permission';
    const limits = [flag, '--allow-fs-read=*'];
    expect(project.node(...limits, '--allow-addons', 'example.mjs')).toMatch(PROBABILITIES);
    const { status, output } = project.run(process.execPath, [...limits, 'example.mjs']);
    expect(status).toBe(1);
    expect(output).toContain('--allow-addons');
  });

  test.skipIf(!existsSync(tool('@oven/bun-linux-x64')))('in Bun', () => {
    const project = new Project('bun');
    project.write('example.mjs', example);
    const { status, output } = project.run(tool('@oven/bun-linux-x64/bin/bun'), ['example.mjs']);
    expect(status, output).toBe(0);
    expect(output).toMatch(PROBABILITIES);
  });

  test.skipIf(!existsSync(tool('@deno/linux-x64-glibc')))('in Deno', () => {
    const project = new Project('deno');
    project.write('example.mjs', example);
    const args = [
      'run',
      '--allow-read',
      '--allow-ffi',
      '--allow-env',
      '--allow-sys',
      '--no-remote',
      'example.mjs',
    ];
    const { status, output } = project.run(tool('@deno/linux-x64-glibc/deno'), args);
    expect(status, output).toBe(0);
    expect(output).toMatch(PROBABILITIES);
  });
});

test('a route and a page of Next answer, with the library outside of its bundle', async () => {
  const project = new Project('next');
  project.write('next.config.mjs', "export default { serverExternalPackages: ['drivetrain'] };");
  project.write(
    'app/layout.js',
    'export default function Layout({ children }) { return <html lang="en"><body>{children}</body></html>; }',
  );
  project.write(
    'app/page.js',
    `import { add, tensor } from 'drivetrain';
export const dynamic = 'force-dynamic';
export default function Page() { return <p>sum {add(tensor([1]), tensor([2])).item()}</p>; }`,
  );
  project.write(
    'app/sum/route.js',
    `import { add, tensor } from 'drivetrain';
export const dynamic = 'force-dynamic';
export const GET = () => Response.json(add(tensor([1]), tensor([2])));`,
  );
  const next = tool('next/dist/bin/next');
  const quiet = { NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' };
  const built = project.run(process.execPath, [next, 'build'], quiet);
  expect(built.status, built.output).toBe(0);
  const port = await freePort();
  const server = spawn(process.execPath, [next, 'start', '-H', '127.0.0.1', '-p', `${port}`], {
    cwd: project.folder,
    env: { ...process.env, ...quiet },
    stdio: 'ignore',
  });
  try {
    const address = `http://127.0.0.1:${port}`;
    const route = await (await answerOf(`${address}/sum`)).json();
    expect(route).toEqual({ dtype: 'f32', shape: [1], data: [3] });
    expect(await (await answerOf(address)).text()).toMatch(/sum (<!-- -->)?3/);
  } finally {
    server.kill();
    await once(server, 'exit');
  }
});

/** The answer to a request, as soon as somebody listens. */
async function answerOf(address: string): Promise<Response> {
  for (let tries = 0; ; tries++) {
    try {
      return await fetch(address);
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
