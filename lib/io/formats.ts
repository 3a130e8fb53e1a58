/** How many bytes of a file `formatOf` looks at. */
export const SIGNATURE_BYTES = 64;

const FORMATS: readonly (readonly [signature: string, what: string])[] = [
  [
    'PK\x03\x04',
    'it is a zip archive, as torch.save writes; in Python, safetensors.torch.save_file(torch.load(…), …) converts its tensors',
  ],
  [
    '\x80\x02',
    'it is a Python pickle, as torch.save once wrote; in Python, safetensors.torch.save_file(torch.load(…), …) converts its tensors',
  ],
  ['\x93NUMPY', 'it is a NumPy array (.npy); in Python, safetensors.numpy.save_file({…}, …) converts it'],
  ['\x89HDF', 'it is an HDF5 file, as Keras writes; save its weights as safetensors'],
  ['GGUF', 'it is a GGUF file, for llama.cpp; take the safetensors files of the same model'],
  [
    'version https://git-lfs',
    'it is a pointer of Git LFS, not the file that it stands for; `git lfs pull` fetches that',
  ],
  ['<!DOCTYPE', 'it is a web page; the download answered with a page instead of the file'],
  ['<!doctype', 'it is a web page; the download answered with a page instead of the file'],
  ['<html', 'it is a web page; the download answered with a page instead of the file'],
  ['\x1f\x8b', 'it is compressed by gzip; decompress it first'],
  ['\x7fELF', 'it is a program or a library (ELF)'],
  ['\x89PNG', 'it is a picture (PNG)'],
  ['{', 'it is text that looks like JSON; the tensors of a model are in its .safetensors file'],
];

/** What a file that begins with these bytes is, for an error; undefined where that is unknown. */
export function formatOf(begin: Uint8Array): string | undefined {
  const text = Buffer.from(begin).toString('latin1');
  const known = FORMATS.find(([signature]) => text.startsWith(signature))?.[1];
  return known ?? (/^[\t\n\r -~]{8,}$/.test(text) ? 'it is a text' : undefined);
}
