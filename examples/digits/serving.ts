import { compile, type Module, Registry, softmax, type Tensor } from 'drivetrain';
import { Engine, type InferenceServer, serve } from 'drivetrain/serve';
import { type Digits, PIXELS, toInputs } from './data.js';
import { type LoadReport, sendLoad } from './load.js';
import { accuracyOf } from './train.js';

const CONCURRENCY = 64;
const REQUESTS = 5000;
const MAX_BATCH = 64;

export interface ServedReport extends LoadReport {
  readonly requests: number;
  readonly accuracy: number;
  readonly meanBatch: number;
}

/** Both models behind one server, on a free port of this machine. */
export function startServer(models: Readonly<Record<string, Module>>): Promise<InferenceServer> {
  const engine = new Engine({ registry: new Registry() });
  for (const [name, model] of Object.entries(models)) {
    engine.add({
      name,
      inputs: [{ name: 'pixels', datatype: 'FP32', shape: [-1, PIXELS] }],
      outputs: [{ name: 'probabilities', datatype: 'FP32', shape: [-1, 10] }],
      predict: compile((x: Tensor) => softmax(model.forward(x))),
      batching: { maxBatchSize: MAX_BATCH },
    });
  }
  return serve(engine, { port: 0 });
}

/** Sends the first test digits, one a request, and reads the mean batch size from the server's own metrics. */
export async function measure(server: InferenceServer, model: string, test: Digits): Promise<ServedReport> {
  const first: Digits = { ...test, count: REQUESTS };
  const indices = Uint32Array.from({ length: REQUESTS }, (_, i) => i);
  const report = await sendLoad({
    url: `${server.url}/v2/models/${model}/infer`,
    inputs: toInputs(test, indices),
    pixels: PIXELS,
    requests: REQUESTS,
    concurrency: CONCURRENCY,
  });
  const metrics = await scrape(server);
  const of = (name: string) => metrics.get(`${name}{model="${model}",version="1"}`) ?? Number.NaN;
  return {
    ...report,
    requests: REQUESTS,
    accuracy: accuracyOf(report.predictions, first),
    meanBatch: of('nv_inference_count') / of('nv_inference_exec_count'),
  };
}

/** The samples of /metrics by name and labels. */
export async function scrape(server: InferenceServer): Promise<Map<string, number>> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    samples.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}
