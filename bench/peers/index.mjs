// Everybody who can take part. A contestant's module has `load(isa)`, which gives { version, year?, note? } or throws
// the reason why it is missing, perhaps `setThreads`, `maxThreads` and `unload`, and one function for each problem's `op`
// that it knows: (problem, threads) → { run, values(indices), async?, calls?, time?, dispose? }, or undefined where it
// does not take part. What cannot be kept to the instruction set that DRIVETRAIN_ISA names says `unpinned`.
import * as onednn from './onednn.mjs';
import * as onnxruntime from './onnxruntime.mjs';
import * as openblas from './openblas.mjs';
import * as plain from './plain.mjs';
import * as pytorch from './pytorch.mjs';
import * as tensorflow from './tensorflow.mjs';

export * as drivetrain from './drivetrain.mjs';

const PEERS = [openblas, onednn, onnxruntime, pytorch, tensorflow, plain];

/** Loads all peers: { name, peer, version, year, note, unpinned } of those there are, { name, missing } of the others. */
export async function loadPeers(isa) {
  const loaded = [];
  for (const peer of PEERS) {
    try {
      const { unpinned = false, ...about } = await peer.load(isa);
      loaded.push({
        name: peer.name,
        peer,
        ...about,
        unpinned: unpinned && Boolean(process.env.DRIVETRAIN_ISA),
      });
    } catch (error) {
      loaded.push({ name: peer.name, missing: error.message.split('\n')[0] });
    }
  }
  return loaded;
}

export function describePeer({ name, missing, version, year, note, unpinned }) {
  if (missing) return `${name}: missing (${missing})`;
  const about = [year, note, unpinned && 'cannot be kept to an instruction set'].filter(Boolean).join(', ');
  return `${name} ${version}${about && ` (${about})`}`;
}
