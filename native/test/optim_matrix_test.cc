// The kernels of Adafactor and Muon.
#include "../kernels/optim_reference.h"
#include "tracked.h"

namespace drivetrain::test {
namespace {

constexpr size_t kLengths[] = {0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 257, 1000};

// A sum of squares in double of n updates, each known within its error.
struct Squares {
  long double sum = 0, error = 0;
  template <class T>
  void add(Tracked<T> x) {
    sum += (long double)x.value * x.value;
    error += 2 * std::fabs(x.value) * x.error + x.error * x.error;
  }
  bool holds(double got, size_t n) const { return std::fabs(got - sum) <= error + (n + 1) * 0x1p-53L * sum; }
};

template <class T>
void check_sum_squares_tile(const OptimizerKernels<T>& kernels) {
  Random random;
  for (size_t rows : {1, 3, 4, 5, 64})
    for (size_t cols : kLengths) {
      const size_t stride = cols + 3;
      const Buffer<T> x = random.array<T>((rows - 1) * stride + cols);
      Buffer<double> by_row(rows, -1), by_col(cols, -1);
      kernels.sum_squares_tile(x.data(), rows, stride, cols, by_row.data(), by_col.data());
      std::vector<long double> of_row(rows), of_col(cols);
      for (size_t r = 0; r < rows; ++r)
        for (size_t c = 0; c < cols; ++c) {
          const long double square = (long double)x[r * stride + c] * x[r * stride + c];
          of_row[r] += square, of_col[c] += square;
        }
      for (size_t r = 0; r < rows; ++r)
        expect(std::fabs(by_row[r] - of_row[r]) <= (cols + 1) * 0x1p-53L * of_row[r],
               "row %zu of %zu: %g, want %g", r, rows, by_row[r], double(of_row[r]));
      for (size_t c = 0; c < cols; ++c)
        expect(std::fabs(by_col[c] - of_col[c]) <= (rows + 1) * 0x1p-53L * of_col[c],
               "column %zu of %zu: %g, want %g", c, cols, by_col[c], double(of_col[c]));
    }
}
TEST(sum_squares_tile_f32) { check_sum_squares_tile<float>(k.f32.optim); }
TEST(sum_squares_tile_f64) { check_sum_squares_tile<double>(k.f64.optim); }

const AdafactorArgs kAdafactor[] = {
    {.scale = 1, .beta2 = 0, .eps = 1e-30, .keep = 1, .step = 0.01, .beta1 = 0},     // the first step
    {.scale = 1, .beta2 = 0.97, .eps = 1e-30, .keep = 1, .step = 0.01, .beta1 = 0},  // a later one
    {.scale = -1, .beta2 = 0.5, .eps = 1e-3, .keep = 0.999, .step = 0.1, .beta1 = 0.9},
};

template <class T>
void check_adafactor(const OptimizerKernels<T>& kernels) {
  Random random;
  for (const AdafactorArgs& args : kAdafactor)
    for (size_t n : kLengths) {
      Buffer<T> grad = random.array<T>(n);
      for (size_t i = 0; i < n; i += 7) grad[i] = 0;
      const Buffer<T> v0 = random.array<T>(n, 0.1, 2), param = random.array<T>(n), m0 = random.array<T>(n);

      Buffer<T> v(v0);
      Squares moments;
      const double of_moments = kernels.adafactor_moment(args, grad.data(), v.data(), n);
      for (size_t i = 0; i < n; ++i) {
        Tracked<T> want = Tracked<T>::exact(v0[i]);
        reference::adafactor_moment(args, Tracked<T>::exact(grad[i]), want);
        expect(want.holds(v[i]), "moment %g, want %g", double(v[i]), double(want.value));
        moments.add(
            reference::adafactor_update(false, Tracked<T>(args.scale), Tracked<T>::exact(grad[i]), want));
      }
      expect(moments.holds(of_moments, n), "squares %g, want %g", of_moments, double(moments.sum));

      const T row = T(1.25);
      Squares factored;
      for (size_t i = 0; i < n; ++i)
        factored.add(reference::adafactor_update(true, Tracked<T>::exact(row), Tracked<T>::exact(grad[i]),
                                                 Tracked<T>::exact(v0[i])));
      const double of_factored = kernels.adafactor_squares(row, grad.data(), v0.data(), n);
      expect(factored.holds(of_factored, n), "squares %g, want %g", of_factored, double(factored.sum));

      for (const bool is_factored : {true, false}) {
        const bool has_momentum = args.beta1 != 0;
        Buffer<T> p(param), m(m0), p_cut(param), m_cut(m0);
        const auto apply = [&](Buffer<T>& params, Buffer<T>& momenta, size_t from, size_t count) {
          kernels.adafactor_apply(args, is_factored, row, params.data() + from, grad.data() + from,
                                  v0.data() + from, has_momentum ? momenta.data() + from : nullptr, count);
        };
        apply(p, m, 0, n);
        for (size_t from = 0; from < n; from += 13) apply(p_cut, m_cut, from, n - from < 13 ? n - from : 13);
        expect(p.same_bits(p_cut) && m.same_bits(m_cut), "cutting changes bits");
        for (size_t i = 0; i < n; ++i) {
          Tracked<T> want = Tracked<T>::exact(param[i]), momentum = Tracked<T>::exact(m0[i]);
          const Tracked<T> update = reference::adafactor_update(
              is_factored, Tracked<T>::exact(row), Tracked<T>::exact(grad[i]), Tracked<T>::exact(v0[i]));
          reference::adafactor_apply(args, update, want, has_momentum ? &momentum : nullptr);
          expect(want.holds(p[i]) && momentum.holds(m[i]), "parameter %g, want %g", double(p[i]),
                 double(want.value));
        }
      }
    }
}
TEST(adafactor_f32) { check_adafactor<float>(k.f32.optim); }
TEST(adafactor_f64) { check_adafactor<double>(k.f64.optim); }

template <class T>
void check_muon(const OptimizerKernels<T>& kernels) {
  Random random;
  constexpr double kFactor = 0.375;
  for (const MuonArgs& args : {MuonArgs{1, 0.95, true}, MuonArgs{-1, 0.5, false}, MuonArgs{0.5, 0, true}})
    for (size_t n : kLengths) {
      const Buffer<T> grad = random.array<T>(n), before = random.array<T>(n);
      Buffer<T> buffer(before), out(n, T(-1));
      const double squares = kernels.muon_momentum(args, grad.data(), buffer.data(), n);
      kernels.muon_direction(args, kFactor, grad.data(), buffer.data(), out.data(), n);
      Squares want;
      for (size_t i = 0; i < n; ++i) {
        Tracked<T> b = Tracked<T>::exact(before[i]);
        const Tracked<T> direction = reference::muon_direction(args, Tracked<T>::exact(grad[i]), b);
        const Tracked<T> scaled = direction * Tracked<T>(kFactor);
        expect(b.holds(buffer[i]), "momentum %g, want %g", double(buffer[i]), double(b.value));
        expect(scaled.holds(out[i]), "direction %g, want %g", double(out[i]), double(scaled.value));
        want.add(direction);
      }
      expect(want.holds(squares, n), "squares %g, want %g", squares, double(want.sum));
    }
}
TEST(muon_f32) { check_muon<float>(k.f32.optim); }
TEST(muon_f64) { check_muon<double>(k.f64.optim); }

}  // namespace
}  // namespace drivetrain::test
