// Moves elements without computing: copies between any strides, and fills.
#include <cstring>

#include "fill.h"
#include "kernels_of.h"
#include "loop.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kChunk = 32768;  // elements that one thread takes at once

// Rows that are contiguous on both sides; `inner` elements each.
void copy_rows(const Loop& loop) {
  const size_t inner = loop.inner(), bytes = loop.bytes[0];
  const bool stream = loop.outer() * inner * bytes >= kStreamBytes;
  const auto copy = stream ? selected_kernels()->stream
                           : [](const void* from, void* to, size_t n) { std::memcpy(to, from, n); };
  if (inner > kChunk) {
    const size_t per_row = (inner + kChunk - 1) / kChunk;
    return parallel_chunks(loop.outer() * per_row, 1, [&](size_t i, size_t) {
      const size_t column = i % per_row * kChunk, n = inner - column < kChunk ? inner - column : kChunk;
      copy(loop.at(0, i / per_row, column), loop.at(1, i / per_row, column), n * bytes);
    });
  }
  parallel_chunks(loop.outer(), kChunk / inner, [&](size_t first, size_t end) {
    // Along the last but one dimension the rows stand at equal distances.
    const int along = loop.rank - 2;
    const size_t run = along < 0 ? 1 : loop.shape[along];
    for (size_t row = first; row < end;) {
      const size_t left = run - row % run, n = end - row < left ? end - row : left;
      const char* from = loop.at(0, row, 0);
      char* to = loop.at(1, row, 0);
      for (size_t i = 0; i < n; i++) {
        const int64_t step = static_cast<int64_t>(i * bytes);
        copy(from + (along < 0 ? 0 : step * loop.strides[0][along]),
             to + (along < 0 ? 0 : step * loop.strides[1][along]), inner * bytes);
      }
      row += n;
    }
  });
}

// to[c * to_row + r] = from[r * from_row + c], in blocks that the nearest cache holds.
template <class T>
void transpose(const T* from, int64_t from_row, T* to, int64_t to_row, size_t rows, size_t cols) {
  constexpr size_t kBlock = 16;
  for (size_t top = 0; top < rows; top += kBlock)
    for (size_t left = 0; left < cols; left += kBlock)
      for (size_t c = left; c < cols && c < left + kBlock; c++)
        for (size_t r = top; r < rows && r < top + kBlock; r++)
          to[static_cast<int64_t>(c) * to_row + static_cast<int64_t>(r)] =
              from[static_cast<int64_t>(r) * from_row + static_cast<int64_t>(c)];
}

// Exchanges a dimension that is contiguous in the source with the last, which is so in the output: a
// transposition of rows (the last dimension) and columns for every index of the others.
void copy_transposed(const Loop& loop, int contiguous) {
  constexpr size_t kPanel = 64;  // rows that one thread takes at once
  const int last = loop.rank - 1;
  const size_t rows = loop.shape[last], cols = loop.shape[contiguous], panels = (rows + kPanel - 1) / kPanel;
  size_t outer = 1;
  for (int i = 0; i < last; i++) outer *= i == contiguous ? 1 : loop.shape[i];
  const int64_t from_row = loop.strides[0][last], to_row = loop.strides[1][contiguous];
  const bool stream = outer * rows * cols * loop.bytes[0] >= kStreamBytes;
  const size_t per_chunk = kPanel * cols >= kChunk ? 1 : kChunk / (kPanel * cols);
  parallel_chunks(outer * panels, per_chunk, [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      const size_t top = i % panels * kPanel, n = rows - top < kPanel ? rows - top : kPanel;
      int64_t from_at = static_cast<int64_t>(top) * from_row, to_at = static_cast<int64_t>(top);
      size_t index = i / panels;
      for (int d = last - 1; d >= 0; d--) {
        if (d == contiguous) continue;
        from_at += static_cast<int64_t>(index % loop.shape[d]) * loop.strides[0][d];
        to_at += static_cast<int64_t>(index % loop.shape[d]) * loop.strides[1][d];
        index /= loop.shape[d];
      }
      const auto move = [&](auto type) {
        using T = decltype(type);
        transpose(reinterpret_cast<const T*>(loop.data[0]) + from_at, from_row,
                  reinterpret_cast<T*>(loop.data[1]) + to_at, to_row, n, cols);
      };
      switch (loop.bytes[0]) {
        case 1:
          move(uint8_t{});
          break;
        case 2:
          move(uint16_t{});
          break;
        case 4:
          selected_kernels()->transpose(reinterpret_cast<const float*>(loop.data[0]) + from_at, from_row,
                                        reinterpret_cast<float*>(loop.data[1]) + to_at, to_row, n, cols,
                                        stream);
          break;
        default:
          move(uint64_t{});
      }
    }
  });
}

template <class T>
void copy_strided_row(const char* from, int64_t from_stride, char* to, int64_t to_stride, size_t n) {
  for (size_t i = 0; i < n; i++)
    reinterpret_cast<T*>(to)[static_cast<int64_t>(i) * to_stride] =
        reinterpret_cast<const T*>(from)[static_cast<int64_t>(i) * from_stride];
}

// Any strides, along the last dimension.
void copy_strided(const Loop& loop) {
  constexpr void (*kCopy[])(const char*, int64_t, char*, int64_t, size_t) = {
      copy_strided_row<uint8_t>, copy_strided_row<uint16_t>, copy_strided_row<uint32_t>,
      copy_strided_row<uint64_t>};
  const auto copy = kCopy[__builtin_ctzll(loop.bytes[0])];
  const int last = loop.rank - 1;
  const size_t inner = loop.inner(), piece = inner < kChunk ? inner : kChunk,
               per_row = (inner + piece - 1) / piece;
  parallel_chunks(loop.outer() * per_row, kChunk / piece, [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      const size_t row = i / per_row, column = i % per_row * piece;
      copy(loop.at(0, row, column), loop.strides[0][last], loop.at(1, row, column), loop.strides[1][last],
           inner - column < piece ? inner - column : piece);
    }
  });
}

void copy(const TensorRef& from, const TensorRef& to) {
  if (from.size() == 0) return;
  const TensorRef operands[] = {from, to};
  const Loop loop({operands, 2, nullptr, 0});
  const int last = loop.rank - 1;
  if (loop.strides[0][last] == 1 && loop.strides[1][last] == 1) return copy_rows(loop);
  for (int i = 0; i < last; i++)
    if (loop.strides[0][i] == 1 && loop.strides[1][last] == 1) return copy_transposed(loop, i);
  copy_strided(loop);
}

// `count` of a tensor's places along an axis, from `first` on.
struct Part {
  Part(const TensorRef& whole, int axis, int64_t first, int64_t count) : view(whole) {
    std::copy(whole.shape, whole.shape + whole.rank, shape);
    shape[axis] = count;
    view.shape = shape;
    view.data = whole.as<char>() + first * whole.strides[axis] * static_cast<int64_t>(bytes_of(whole.dtype));
  }
  Part(const Part&) = delete;

  TensorRef view;
  int64_t shape[kMaxRank];
};

}  // namespace

void op_copy(const OpCall& call) { copy(call[0], call[1]); }

// attrs: [value]
void op_fill(const OpCall& call) {
  const double value = call.attrs[0];
  const TensorRef& out = call[0];
  switch (out.dtype) {
    case DType::kF32:
      return fill(out, static_cast<float>(value));
    case DType::kF64:
      return fill(out, value);
    case DType::kI64:
      return fill(out, static_cast<int64_t>(value));
    case DType::kI32:
      return fill(out, static_cast<int32_t>(value));
    case DType::kF16:
    case DType::kBF16: {
      const float single = static_cast<float>(value);
      uint16_t half;
      const Kernels& kernels = *selected_kernels();
      (out.dtype == DType::kF16 ? kernels.f32_to_f16 : kernels.f32_to_bf16)(&single, &half, 1);
      return fill(out, half);
    }
    case DType::kI8:
      return fill(out, static_cast<int8_t>(value));
    default:
      return fill(out, static_cast<uint8_t>(value));
  }
}

// operands: dy, out; attrs: [axis, begin]. Zeros, but for dy at `begin` along the axis: the gradient of a
// slice.
void op_embedSlice(const OpCall& call) {
  const int axis = static_cast<int>(call.attrs[0]);
  zero(call[1]);
  copy(call[0], Part(call[1], axis, static_cast<int64_t>(call.attrs[1]), call[0].shape[axis]).view);
}

// operands: any number of tensors, then out; attrs: [axis]. The tensors one behind the other along the axis.
void op_concat(const OpCall& call) {
  const int axis = static_cast<int>(call.attrs[0]);
  const TensorRef& out = call[call.count - 1];
  int64_t first = 0;
  for (size_t i = 0; i + 1 < call.count; i++) {
    const int64_t count = call[i].shape[axis];
    copy(call[i], Part(out, axis, first, count).view);
    first += count;
  }
}

}  // namespace drivetrain
