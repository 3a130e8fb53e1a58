// Elementwise ops and normalisations of rows that follow one another, done together tile by tile: what one
// leaves for the next stays in the nearest cache.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <optional>

#include "kernels_of.h"
#include "loop.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr int kMaxInputs = 8;  // as in lib/ops/chain.ts, as is what follows
constexpr int kMaxNodes = 32;
constexpr int kMaxConstants = 32;
constexpr int kMaxValues =
    kMaxInputs + kMaxNodes + kMaxConstants + 1;  // with a register a node, and the output

constexpr int kTileSlot = 4;
constexpr size_t kTile = 1024;         // elements of a tile, where a row is not longer
constexpr size_t kLeastTile = 128;     // where many tiles have to fit
constexpr size_t kTilesBytes = 32768;  // that registers and gathered inputs may take together
constexpr size_t kChunk = 32768;       // elements times ops that one thread takes at once

// One op: reads the values a, b and c (-1: none) and writes the value `target`.
struct Node {
  Opcode op;
  int a, b, c, target;
  double number;
};

// attrs: [constants, registers, width of rows (0: nothing here works on rows), nodes], the constants, then
// for each node opcode, a, b, c, target, number. Values are numbered inputs first, then registers, constants,
// and the output.
struct Chain {
  int inputs, registers, constants, nodes;
  size_t width;
  const double* constant;
  Node node[kMaxNodes];

  explicit Chain(const OpCall& call) : inputs(static_cast<int>(call.count) - 1) {
    const double* at = call.attrs;
    constants = static_cast<int>(*at++);
    registers = static_cast<int>(*at++);
    width = static_cast<size_t>(*at++);
    nodes = static_cast<int>(*at++);
    assert(inputs <= kMaxInputs && constants <= kMaxConstants && nodes <= kMaxNodes && registers <= nodes);
    constant = at;
    at += constants;
    for (int i = 0; i < nodes; i++, at += 6) {
      node[i] = {static_cast<Opcode>(static_cast<int>(at[0])),
                 static_cast<int>(at[1]),
                 static_cast<int>(at[2]),
                 static_cast<int>(at[3]),
                 static_cast<int>(at[4]),
                 at[5]};
    }
  }
};

// A tile of a value: a step of 0 repeats the first element.
struct Value {
  char* at;
  size_t step;
};

template <class E>
void copy_as(const char* from, int64_t stride, size_t n, char* to) {
  const E* x = reinterpret_cast<const E*>(from);
  E* out = reinterpret_cast<E*>(to);
  for (size_t i = 0; i < n; i++) out[i] = x[static_cast<int64_t>(i) * stride];
}

// Elements a stride apart, one after another.
void copy(const char* from, int64_t stride, size_t bytes, size_t n, char* to) {
  if (stride == 1)
    std::memcpy(to, from, n * bytes);
  else if (bytes == 8)
    copy_as<uint64_t>(from, stride, n, to);
  else if (bytes == 4)
    copy_as<uint32_t>(from, stride, n, to);
  else
    copy_as<uint8_t>(from, stride, n, to);
}

// Elements first .. first + n of a tensor, row-major, one after another.
void gather(const Loop& loop, size_t first, size_t n, char* to) {
  const size_t inner = loop.inner(), bytes = loop.bytes[0];
  const int64_t stride = loop.strides[0][loop.rank - 1];
  size_t row = first / inner, column = first % inner;
  for (size_t done = 0; done < n; row++, column = 0) {
    const size_t count = std::min(n - done, inner - column);
    const char* from = loop.at(0, row, column);
    copy(from, stride, bytes, count, to + done * bytes);
    done += count;
  }
}

// How the tiles of an input are found.
struct Input {
  Loop loop;
  int64_t stride;          // of the innermost dimension
  bool parameter;          // of every row: read as it lies
  bool repeated;           // one element
  bool same_rows;          // all rows are one
  char* buffer = nullptr;  // where tiles are gathered
  bool filled = false;     // with what all tiles are

  // `size` is that of the output.
  Input(const TensorRef& t, size_t size) : loop(OpCall{&t, 1, nullptr, 0}), parameter(t.size() != size) {
    stride = loop.strides[0][loop.rank - 1];
    repeated = loop.rank == 1 && stride == 0;
    same_rows = true;
    for (int i = 0; i + 1 < loop.rank; i++) same_rows = same_rows && loop.strides[0][i] == 0;
  }
  bool walks() const { return loop.rank == 1 && stride == 1; }
  bool gathers() const { return !parameter && !repeated && !walks(); }

  Value tile(size_t first, size_t n) {
    if (parameter) return {loop.data[0], 1};
    if (repeated) return {loop.data[0], 0};
    const size_t inner = loop.inner(), column = first % inner;
    // A part of one row: as it lies, or its one element.
    if (stride <= 1 && column + n <= inner)
      return {loop.at(0, first / inner, column), static_cast<size_t>(stride)};
    if (!filled) gather(loop, first, n, buffer);
    filled = same_rows && column == 0 && n % inner == 0;
    return {buffer, 1};
  }
};

constexpr int place(Opcode op, Opcode first) { return static_cast<int>(op) - static_cast<int>(first); }
static_assert(place(Opcode::k_gelu, Opcode::k_neg) == kGelu && kGelu + 1 == kUnaryCount);
static_assert(place(Opcode::k_geluGrad, Opcode::k_add) == kGeluGrad && kGeluGrad + 1 == kBinaryCount);
static_assert(place(Opcode::k_greater, Opcode::k_equal) == kGreater && kGreater + 1 == kCompareCount);

template <class T>
void run(const Node& node, const Value* values, size_t n, size_t width) {
  const auto& kernels = kernels_of<T>();
  const Value& a = values[node.a];
  const T* x = reinterpret_cast<const T*>(a.at);
  T* out = reinterpret_cast<T*>(values[node.target].at);
  const auto second = [&] { return reinterpret_cast<const T*>(values[node.b].at); };
  const auto third = [&] { return reinterpret_cast<const T*>(values[node.c].at); };
  const T eps = static_cast<T>(node.number);
  if (node.op <= Opcode::k_gelu) {
    const auto kernel = kernels.unary[place(node.op, Opcode::k_neg)];
    if (a.step == 1) return kernel(x, out, n);
    kernel(x, out, 1);
    return kernels.fill(out[0], out, n);
  }
  if (node.op <= Opcode::k_geluGrad)
    return kernels.binary[place(node.op, Opcode::k_add)](x, a.step, second(), values[node.b].step, out, n);
  if (node.op <= Opcode::k_greater)
    return kernels.compare[place(node.op, Opcode::k_equal)](x, a.step, second(), values[node.b].step,
                                                            reinterpret_cast<uint8_t*>(out), n);
  if (node.op == Opcode::k_where)
    return kernels.where(reinterpret_cast<const uint8_t*>(a.at), a.step, second(), values[node.b].step,
                         third(), values[node.c].step, out, n);
  for (size_t at = 0; at < n; at += width) {
    switch (node.op) {
      case Opcode::k_softmax:
        kernels.softmax(x + at, out + at, width);
        break;
      case Opcode::k_logSoftmax:
        kernels.log_softmax(x + at, out + at, width);
        break;
      case Opcode::k_softmaxGrad:
        kernels.softmax_grad(x + at, second() + at, out + at, width);
        break;
      case Opcode::k_logSoftmaxGrad:
        kernels.log_softmax_grad(x + at, second() + at, out + at, width);
        break;
      case Opcode::k_layerNorm:
        kernels.layer_norm(x + at, second(), third(), eps, out + at, width);
        break;
      default:
        kernels.rms_norm(x + at, second(), eps, out + at, width);
        break;
    }
  }
}

// A multiple of a row where rows matter, or are so short that tiles may end where they end.
size_t tile_elements(const Chain& chain, size_t cols, int tiles, size_t bytes) {
  const size_t fits = kTilesBytes / (static_cast<size_t>(std::max(tiles, 1)) * bytes);
  const size_t tile = std::clamp(fits / 64 * 64, kLeastTile, kTile);
  const size_t row = chain.width > 0 ? chain.width : cols;
  if (row <= tile) return tile / row * row;
  return chain.width > 0 ? row : tile;
}

// operands: the inputs, in any strides, the output; attrs: Chain.
template <class T>
void chain_of(const OpCall& call) {
  const Chain chain(call);
  const TensorRef& output = call[static_cast<size_t>(chain.inputs)];
  const size_t size = output.size(), out_bytes = bytes_of(output.dtype);
  if (size == 0) return;
  const int first_register = chain.inputs, first_constant = first_register + chain.registers;
  const int out = first_constant + chain.constants;
  T constants[kMaxConstants];
  for (int i = 0; i < chain.constants; i++) constants[i] = static_cast<T>(chain.constant[i]);
  int gathered = 0;
  for (int i = 0; i < chain.inputs; i++) gathered += Input(call[static_cast<size_t>(i)], size).gathers();
  const int tiles = chain.registers + gathered;
  const size_t tile = tile_elements(chain, output.cols(), tiles, sizeof(T));
  const size_t count = (size + tile - 1) / tile;
  const size_t per_chunk = std::max<size_t>(kChunk / static_cast<size_t>(chain.nodes) / tile, 1);
  parallel_chunks(count, per_chunk, [&](size_t from, size_t end) {
    char* buffer = static_cast<char*>(scratch(kTileSlot, static_cast<size_t>(tiles) * tile * sizeof(T)));
    Value values[kMaxValues];
    for (int i = 0; i < chain.registers; i++, buffer += tile * sizeof(T))
      values[first_register + i] = {buffer, 1};
    for (int i = 0; i < chain.constants; i++)
      values[first_constant + i] = {reinterpret_cast<char*>(constants + i), 0};
    std::optional<Input> inputs[kMaxInputs];
    for (int i = 0; i < chain.inputs; i++) {
      inputs[i].emplace(call[static_cast<size_t>(i)], size);
      inputs[i]->buffer = buffer;
      if (inputs[i]->gathers()) buffer += tile * sizeof(T);
    }
    for (size_t t = from; t < end; t++) {
      const size_t first = t * tile, n = std::min(tile, size - first);
      for (int i = 0; i < chain.inputs; i++) values[i] = inputs[i]->tile(first, n);
      values[out] = {output.as<char>() + first * out_bytes, 1};
      for (int i = 0; i < chain.nodes; i++) run<T>(chain.node[i], values, n, chain.width);
    }
  });
}

}  // namespace

void op_chain(const OpCall& call) {
  // Conditions are bool, and may be all that goes in first; all else is of one dtype.
  for (size_t i = 0; i < call.count; i++) {
    if (call[i].dtype == DType::kBool) continue;
    return DRIVETRAIN_FLOAT_DISPATCH(call[i].dtype, chain_of, call);
  }
}

}  // namespace drivetrain
