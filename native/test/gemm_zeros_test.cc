// Steps of k are left out where A is 0: what must not be seen of it, and that it happens.
#include <unistd.h>
#include <string>
#include <vector>
#include "../runtime/thread_pool.h"
#include "gemm_matrix.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

template <class T>
GemmArgs<T> product(size_t m, size_t n, size_t depth, Matrix<T>& a, Matrix<T>& b, Buffer<T>& c) {
  GemmArgs<T> g{};
  g.m = m, g.n = n, g.k = depth;
  g.a = a.data.data(), g.a_row = a.row, g.a_col = a.col;
  g.b = b.data.data(), g.b_row = b.row, g.b_col = b.col;
  g.c = c.data(), g.c_row = ptrdiff_t(n);
  g.alpha = 1;
  return g;
}

template <class T>
Buffer<T> pack(const FloatKernels<T>& k, const GemmArgs<T>& g) {
  Buffer<T> packed(k.packed_b_bytes(g.k, g.n) / sizeof(T));
  k.pack_b(g.b, g.b_row, g.b_col, g.k, g.n, packed.data());
  return packed;
}

// They cut products into blocks of other shapes. The scalar kernels, which are slow, leave steps out for one
// row alone.
std::vector<int> thread_counts(const Kernels& k) {
  return std::string(k.name) == "scalar" ? std::vector<int>{2} : std::vector<int>{1, 2};
}

// A row's values do not depend on how many zeros the other rows have: on whether steps are left out, and
// which. In some of them all parts of k have zeros, in some the first alone.
TEST(gemm_zeros_change_no_bits) {
  for (int threads : thread_counts(k)) {
    set_threads(threads);
    for (const auto& [m, n, depth] : kZeroShapes)
      for (size_t cleared : {depth, depth / 3})
        for (bool packed : {false, true})
          for (bool transposed : {false, true}) {
            if (m == 1) continue;  // has no other rows
            Random random;
            Matrix<float> a(random, m, depth, transposed, 3), b(random, depth, n, false, 1);
            a.clear(random, m, cleared, 6, 1);
            Buffer<float> some(m * n), all(m * n);
            GemmArgs<float> g = product(m, n, depth, a, b, some);
            const Buffer<float> packed_b = pack(k.f32, g);
            if (packed) use_packed(g, packed_b);
            k.f32.gemm(g);
            for (size_t i = 0; i < m; i += 2)
              for (size_t p = 0; p < depth; ++p) a.at(i, p) = float(random.uniform(1, 2));
            g.c = all.data();
            k.f32.gemm(g);
            for (size_t i = 1; i < m; i += 2)
              expect(!std::memcmp(&some[i * n], &all[i * n], n * sizeof(float)), "m %zu n %zu k %zu: row %zu",
                     m, n, depth, i);
          }
  }
}

// 0 times infinity is NaN, and so is 0 times NaN: steps stay in where they are to be met, wherever it is.
template <class T>
void check_hides_nothing(const FloatKernels<T>& k, size_t m, size_t n, size_t depth, bool packed,
                         bool flipped) {
  Random random;
  Matrix<T> a(random, m, depth, flipped, 0), b(random, depth, n, false, 0);
  Matrix<T>& zeros = flipped ? b : a;
  flipped ? b.clear(random, depth, n, 1, 10) : a.clear(random, m, depth, 6, 1);
  Buffer<T> c(m * n);
  GemmArgs<T> g = product(m, n, depth, a, b, c);
  const size_t across = flipped ? m : n;
  for (size_t p : {size_t(0), size_t(31), depth / 2, depth - 2, depth - 1})
    for (size_t j : {size_t(0), size_t(17), size_t(55), across / 2, across - 1}) {
      for (size_t i = 0; i < (flipped ? n : m); ++i) (flipped ? zeros.at(p, i) : zeros.at(i, p)) = 0;
      T& at = flipped ? a.at(j, p) : b.at(p, j);
      const T good = at;
      at = (p + j) % 2 ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::quiet_NaN();
      GemmArgs<T> run = g;
      const Buffer<T> packed_b = pack(k, g);
      if (packed) use_packed(run, packed_b);
      k.gemm(run);
      for (size_t i = 0; i < m * n; ++i)
        expect(std::isnan(c[i]) == ((flipped ? i / n : i % n) == j),
               "m %zu n %zu k %zu packed %d flipped %d bad at %zu, %zu: [%zu, %zu] is %g", m, n, depth,
               packed, flipped, p, j, i / n, i % n, double(c[i]));
      at = good;
    }
}
TEST(gemm_zeros_hide_nothing) {
  for (int threads : thread_counts(k)) {
    set_threads(threads);
    for (const auto& [m, n, depth] : kZeroShapes) {
      for (bool packed : {false, true}) check_hides_nothing(k.f32, m, n, depth, packed, false);
      check_hides_nothing(k.f32, n, m + 60, depth, false, true);
    }
  }
  check_hides_nothing(k.f64, 1, 300, 130, true, false);
}

TEST(gemm_packed_is_finite) {
  for (size_t n : {1, 5, 16, 37, 64, 77, 300})
    for (size_t depth : {1, 2, 3, 5, 9}) {
      Random random;
      Matrix<float> a(random, 1, depth, false, 0), b(random, depth, n, false, 0);
      Buffer<float> c(n);
      const GemmArgs<float> g = product(1, n, depth, a, b, c);
      const auto says = [&] {
        const Buffer<float> packed = pack(k.f32, g);
        return packed_is_finite(packed.data(), packed.size() * sizeof(float));
      };
      expect(says(), "n %zu k %zu: finite values are not said to be so", n, depth);
      for (size_t at = 0; at < depth * n; ++at) {
        const float good = b.data[at];
        b.data[at] = at % 2 ? std::numeric_limits<float>::infinity() : std::nanf("");
        expect(!says(), "n %zu k %zu: %zu is missed", n, depth, at);
        b.data[at] = good;
      }
    }
}

TEST(gemm_zeros_in_batches) {
  constexpr size_t count = 3, m = 33, n = 130, depth = 200;
  Random random;
  Matrix<float> a(random, count * m, depth, false, 0), b(random, count * depth, n, false, 0);
  a.clear(random, count * m, depth, 6, 1);
  b.at(depth + 7, 5) = std::numeric_limits<float>::infinity();  // in one of the products
  Buffer<float> batched(count * m * n), alone(count * m * n);
  GemmArgs<float> g = product(m, n, depth, a, b, batched);
  GemmBatch batch{};
  batch.rank = 1, batch.count[0] = count;
  batch.a_step[0] = m * depth, batch.b_step[0] = depth * n, batch.c_step[0] = m * n;
  k.f32.gemm_batched(g, batch);
  g.c = alone.data();
  for (size_t i = 0; i < count; ++i, g.a += m * depth, g.b += depth * n, g.c += m * n) k.f32.gemm(g);
  expect(batched.same_bits(alone), "products of a batch differ from those alone");
  for (size_t i = 0; i < count * m; ++i)
    expect(std::isfinite(batched[i * n + 5]) == (i / m != 1), "row %zu: %g", i, double(batched[i * n + 5]));
}

// Steps of which B may not be read: from kFirst to kEnd.
constexpr size_t kSteps = 784, kFirst = 40, kEnd = 744;

// Makes whole pages unreadable that lie in [begin, end).
void forbid(void* begin, void* end, int protection = PROT_NONE) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t from = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t to = reinterpret_cast<uintptr_t>(end) / page * page;
  if (from < to) mprotect(reinterpret_cast<void*>(from), to - from, protection);
}

// What is left out of a packed B is not read, or this ends the test.
TEST(gemm_zeros_are_not_read) {
  constexpr size_t n = 256;
  set_threads(1);  // others may get too little each for zeros to be looked for
  for (size_t m : {1, 2, 8, 40, 200}) {
    if (m > 1 && std::string(k.name) == "scalar") continue;  // takes all steps
    Random random;
    Matrix<float> a(random, m, kSteps, false, 0), b(random, kSteps, n, false, 0);
    for (size_t i = 0; i < m; ++i)
      for (size_t p = kFirst; p < kEnd; ++p) a.at(i, p) = 0;
    // A panel's rows lie one after another: the first row's numbers of columns tell its width.
    for (size_t j = 0; j < n; ++j) b.at(0, j) = float(j), b.at(1, j) = -1;
    Buffer<float> c(m * n), want(m * n);
    GemmArgs<float> g = product(m, n, kSteps, a, b, want);
    Buffer<float> packed = pack(k.f32, g);
    size_t width = 1;
    while (packed[width] == float(width)) ++width;
    use_packed(g, packed);
    k.f32.gemm(g);
    g.c = c.data();
    const auto protect = [&](int protection) {
      for (size_t j = 0; j < n; j += width) {
        float* panel = packed.data() + j * kSteps;
        forbid(panel + kFirst * width, panel + kEnd * width, protection);
      }
    };
    protect(PROT_NONE);
    k.f32.gemm(g);
    protect(PROT_READ | PROT_WRITE);
    expect(c.same_bits(want), "m %zu: values differ", m);
  }
  set_threads(2);
}

TEST(gemm_s8_zeros_are_not_read) {
  constexpr size_t n = 256;
  Random random;
  Buffer<float> a = random.array<float>(kSteps), c(n), want(n);
  for (size_t p = kFirst; p < kEnd; ++p) a[p] = 0;
  Buffer<int8_t> b(kSteps * n, 3), packed(k.packed_s8_bytes(kSteps, n));
  k.pack_s8(b.data(), false, n, 1, kSteps, n, packed.data());
  const float scale = 0.5;
  GemmS8Args g{};
  g.m = 1, g.n = n, g.k = kSteps, g.a_type = Int8Source::kF32, g.a = a.data(), g.a_row = kSteps;
  g.b_packed = packed.data(), g.b_scale = {&scale, 0}, g.c_type = Int8Result::kF32, g.c_row = n;
  g.c = want.data();
  k.gemm_s8(g);
  // A panel has its columns' sums, of four bytes, behind all steps.
  const size_t panel = k.packed_s8_bytes(kSteps, 1), width = panel / (kSteps + sizeof(int32_t));
  const auto protect = [&](int protection) {
    for (int8_t* at = packed.data(); at < packed.data() + packed.size(); at += panel)
      forbid(at + kFirst * width, at + kEnd * width, protection);
  };
  protect(PROT_NONE);
  g.c = c.data();
  k.gemm_s8(g);
  protect(PROT_READ | PROT_WRITE);
  expect(c.same_bits(want), "values differ");
}

}  // namespace
}  // namespace drivetrain::test
