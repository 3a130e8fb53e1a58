// What the machine can do at most: register loops and passes over memory, measured beside what they bound.
#include <algorithm>
#include <cstring>
#include "register_loops.h"
#include "together.h"
#include "values.h"

namespace drivetrain::bench {
namespace {

constexpr size_t kSteps = 500'000;

const RegisterLoops* loops_for(const char* isa) {
  if (std::strcmp(isa, "avx2") == 0) return avx2_loops();
  if (std::strcmp(isa, "avx512") == 0) return avx512_loops();
  if (std::strcmp(isa, "neon") == 0) return neon_loops();
  return nullptr;
}

Loop loop_named(const RegisterLoops& loops, const char* name) {
  if (std::strcmp(name, "fma") == 0) return loops.fma;
  if (std::strcmp(name, "widening") == 0) return loops.widening;
  if (std::strcmp(name, "dot") == 0) return loops.dot;
  if (std::strcmp(name, "tiles") == 0) return loops.tiles;
  return std::strcmp(name, "divide") == 0 ? loops.divide : nullptr;
}

void read_string(napi_env env, napi_value value, char (&text)[16]) {
  text[0] = 0;
  napi_get_value_string_utf8(env, value, text, sizeof text, nullptr);
}

// registerLoop(isa, name, threads): what all threads together do in a second; 0 where there is no such loop.
napi_value register_loop(napi_env env, napi_callback_info info) {
  const Arguments<3> args(env, info);
  char isa[16], name[16];
  read_string(env, args[0], isa);
  read_string(env, args[1], name);
  const int threads = static_cast<int>(to_double(env, args[2]));
  const RegisterLoops* loops = loops_for(isa);
  const Loop loop = loops != nullptr ? loop_named(*loops, name) : nullptr;
  if (loop == nullptr) return from_double(env, 0);
  loop(kSteps / 100);
  double counted = 0;
  const double seconds = seconds_together(threads, [&](int index) {
    const double count = loop(kSteps);
    if (index == 0) counted = count;
  });
  return from_double(env, counted * threads / seconds);
}

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define DRIVETRAIN_WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DRIVETRAIN_WIDEST
#endif

constexpr uint32_t kMostUpdated = 4;

DRIVETRAIN_WIDEST
void update1(float* __restrict a, const float* __restrict r, size_t begin, size_t end, float scale) {
  for (size_t i = begin; i < end; ++i) a[i] += scale * r[i];
}
DRIVETRAIN_WIDEST
void update2(float* __restrict a, float* __restrict b, const float* __restrict r, size_t begin, size_t end,
             float scale) {
  for (size_t i = begin; i < end; ++i) {
    a[i] += scale * r[i];
    b[i] += scale * r[i];
  }
}
DRIVETRAIN_WIDEST
void update3(float* __restrict a, float* __restrict b, float* __restrict c, const float* __restrict r,
             size_t begin, size_t end, float scale) {
  for (size_t i = begin; i < end; ++i) {
    a[i] += scale * r[i];
    b[i] += scale * r[i];
    c[i] += scale * r[i];
  }
}
DRIVETRAIN_WIDEST
void update4(float* __restrict a, float* __restrict b, float* __restrict c, float* __restrict d,
             const float* __restrict r, size_t begin, size_t end, float scale) {
  for (size_t i = begin; i < end; ++i) {
    a[i] += scale * r[i];
    b[i] += scale * r[i];
    c[i] += scale * r[i];
    d[i] += scale * r[i];
  }
}

// With the values that they had: r is finite.
void update(float* const (&x)[kMostUpdated], uint32_t updated, const float* r, size_t begin, size_t end) {
  if (updated == 1) update1(x[0], r, begin, end, 0);
  if (updated == 2) update2(x[0], x[1], r, begin, end, 0);
  if (updated == 3) update3(x[0], x[1], x[2], r, begin, end, 0);
  if (updated == 4) update4(x[0], x[1], x[2], x[3], r, begin, end, 0);
}

DRIVETRAIN_WIDEST
int32_t sum_bytes(const int32_t* values, size_t count) {
  int32_t sum = 0;
  for (size_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

// updateStream([r, a, b…], threads): the seconds of one pass that reads all arrays of floats and writes all
// but the first of them back.
napi_value update_stream(napi_env env, napi_callback_info info) {
  const Arguments<2> args(env, info);
  uint32_t given = 0;
  napi_get_array_length(env, args[0], &given);
  const uint32_t updated = std::min(given - 1, kMostUpdated);
  float* arrays[1 + kMostUpdated] = {};
  size_t count = 0;
  for (uint32_t i = 0; i <= updated; ++i) {
    napi_value array = nullptr;
    napi_get_element(env, args[0], i, &array);
    arrays[i] = static_cast<float*>(data_of(env, array));
    count = bytes_of_array(env, array) / sizeof(float);
  }
  float* const written[kMostUpdated] = {arrays[1], arrays[2], arrays[3], arrays[4]};
  const int threads = static_cast<int>(to_double(env, args[1]));
  const double seconds = seconds_together(threads, [&](int index) {
    update(written, updated, arrays[0], count * index / threads, count * (index + 1) / threads);
  });
  return from_double(env, seconds);
}

// readStream(bytes, threads): the seconds of one pass that reads an array.
napi_value read_stream(napi_env env, napi_callback_info info) {
  const Arguments<2> args(env, info);
  const auto* values = static_cast<const int32_t*>(data_of(env, args[0]));
  const size_t count = bytes_of_array(env, args[0]) / sizeof(int32_t);
  const int threads = static_cast<int>(to_double(env, args[1]));
  const double seconds = seconds_together(threads, [&](int index) {
    const size_t begin = count * index / threads, end = count * (index + 1) / threads;
    volatile int32_t sum = sum_bytes(values + begin, end - begin);
    (void)sum;
  });
  return from_double(env, seconds);
}

}  // namespace
}  // namespace drivetrain::bench

NAPI_MODULE_INIT() {
  using namespace drivetrain::bench;
  return export_all(
      env, exports,
      {{"registerLoop", register_loop}, {"updateStream", update_stream}, {"readStream", read_stream}});
}
