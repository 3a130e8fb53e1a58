// Fills a contiguous tensor.
#pragma once
#include <algorithm>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "tensor_ref.h"

namespace drivetrain {

template <class T>
void fill(const TensorRef& out, T value) {
  constexpr size_t kBuffer = 4096 / sizeof(T), kChunk = 32 * kBuffer;
  const bool past_caches = out.size() * sizeof(T) >= kStreamBytes;
  alignas(64) T buffer[kBuffer];
  for (T& each : buffer) each = value;
  parallel_chunks(out.size(), kChunk, [&](size_t first, size_t end) {
    T* to = out.as<T>();
    if (!past_caches) {
      std::fill(to + first, to + end, T{value});
      return;
    }
    for (size_t i = first; i < end; i += kBuffer)
      selected_kernels()->stream(buffer, to + i, (end - i < kBuffer ? end - i : kBuffer) * sizeof(T));
  });
}

inline void zero(const TensorRef& out) {
  const int64_t bytes = static_cast<int64_t>(out.size() * bytes_of(out.dtype)), stride = 1;
  fill({out.data, &bytes, &stride, DType::kU8, 1}, uint8_t{0});
}

}  // namespace drivetrain
