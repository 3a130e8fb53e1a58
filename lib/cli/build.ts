/** Runs the script that builds an installed package; it reports for itself. */
export async function run(): Promise<number> {
  await import(new URL('../../scripts/build-installed.mjs', import.meta.url).href);
  return Number(process.exitCode ?? 0);
}
