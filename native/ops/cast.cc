// Conversion between dtypes, on contiguous tensors. Floats to integers truncate and saturate, NaN becomes 0;
// anything to bool is "not zero"; f16 and bf16 pass through f32 and round to nearest even.
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kChunk = 32768;
constexpr size_t kBlock = 1024;  // elements that pass through a buffer at once

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (value != value) return 0;
    const double low = static_cast<double>(std::numeric_limits<To>::min());
    const double high = static_cast<double>(std::numeric_limits<To>::max());
    if (static_cast<double>(value) <= low) return std::numeric_limits<To>::min();
    if (static_cast<double>(value) >= high) return std::numeric_limits<To>::max();
  }
  return static_cast<To>(value);
}

template <class To, class From>
void convert_range(const From* from, To* to, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = convert<To>(from[i]);
}

// Between f32 and its halves, in either direction, a kernel does it.
using Narrow = void (*)(const float*, uint16_t*, size_t);
using Widen = void (*)(const uint16_t*, float*, size_t);
Narrow narrow_to(DType dtype) {
  return dtype == DType::kF16 ? selected_kernels()->f32_to_f16 : selected_kernels()->f32_to_bf16;
}
Widen widen_from(DType dtype) {
  return dtype == DType::kF16 ? selected_kernels()->f16_to_f32 : selected_kernels()->bf16_to_f32;
}

template <class From>
void convert_from(const From* from, DType dtype, char* to, size_t n) {
  switch (dtype) {
    case DType::kF32:
      return convert_range(from, reinterpret_cast<float*>(to), n);
    case DType::kF64:
      return convert_range(from, reinterpret_cast<double*>(to), n);
    case DType::kI64:
      return convert_range(from, reinterpret_cast<int64_t*>(to), n);
    case DType::kI32:
      return convert_range(from, reinterpret_cast<int32_t*>(to), n);
    case DType::kI8:
      return convert_range(from, reinterpret_cast<int8_t*>(to), n);
    case DType::kU8:
      return convert_range(from, reinterpret_cast<uint8_t*>(to), n);
    case DType::kBool:
      for (size_t i = 0; i < n; i++) reinterpret_cast<uint8_t*>(to)[i] = from[i] != From(0);
      return;
    case DType::kF16:
    case DType::kBF16: {
      if constexpr (std::is_same_v<From, float>)
        return narrow_to(dtype)(from, reinterpret_cast<uint16_t*>(to), n);
      float buffer[kBlock];
      for (size_t i = 0; i < n; i += kBlock) {
        const size_t count = n - i < kBlock ? n - i : kBlock;
        convert_range(from + i, buffer, count);
        narrow_to(dtype)(buffer, reinterpret_cast<uint16_t*>(to) + i, count);
      }
      return;
    }
  }
}

void convert_halves(const uint16_t* from, DType from_dtype, DType to_dtype, char* to, size_t n) {
  const Widen widen = widen_from(from_dtype);
  if (to_dtype == DType::kF32) return widen(from, reinterpret_cast<float*>(to), n);
  float buffer[kBlock];
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t count = n - i < kBlock ? n - i : kBlock;
    widen(from + i, buffer, count);
    convert_from(buffer, to_dtype, to + i * bytes_of(to_dtype), count);
  }
}

void convert_any(const char* from, DType from_dtype, DType to_dtype, char* to, size_t n) {
  switch (from_dtype) {
    case DType::kF32:
      return convert_from(reinterpret_cast<const float*>(from), to_dtype, to, n);
    case DType::kF64:
      return convert_from(reinterpret_cast<const double*>(from), to_dtype, to, n);
    case DType::kI64:
      return convert_from(reinterpret_cast<const int64_t*>(from), to_dtype, to, n);
    case DType::kI32:
      return convert_from(reinterpret_cast<const int32_t*>(from), to_dtype, to, n);
    case DType::kI8:
      return convert_from(reinterpret_cast<const int8_t*>(from), to_dtype, to, n);
    case DType::kU8:
    case DType::kBool:
      return convert_from(reinterpret_cast<const uint8_t*>(from), to_dtype, to, n);
    case DType::kF16:
    case DType::kBF16:
      return convert_halves(reinterpret_cast<const uint16_t*>(from), from_dtype, to_dtype, to, n);
  }
}

}  // namespace

void op_cast(const OpCall& call) {
  const DType from = call[0].dtype, to = call[1].dtype;
  const bool past_caches = call[1].size() * bytes_of(to) >= kStreamBytes;
  parallel_chunks(call[0].size(), kChunk, [&](size_t first, size_t end) {
    const char* source = call[0].as<char>() + first * bytes_of(from);
    char* target = call[1].as<char>() + first * bytes_of(to);
    if (!past_caches) return convert_any(source, from, to, target, end - first);
    alignas(64) char buffer[kBlock * 8];
    for (size_t i = 0; i < end - first; i += kBlock) {
      const size_t n = end - first - i < kBlock ? end - first - i : kBlock;
      convert_any(source + i * bytes_of(from), from, to, buffer, n);
      selected_kernels()->stream(buffer, target + i * bytes_of(to), n * bytes_of(to));
    }
  });
}

}  // namespace drivetrain
