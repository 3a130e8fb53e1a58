// Normalisation of each channel of x [n, channels, length] over samples and places, by its own mean and
// variance.
#include <algorithm>
#include <cmath>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kPiece = 1024;  // values that are looked at together, on the stack

struct Channels {
  size_t samples, channels, length;

  explicit Channels(const TensorRef& x)
      : samples(static_cast<size_t>(x.shape[0])),
        channels(static_cast<size_t>(x.shape[1])),
        length(static_cast<size_t>(x.shape[2])) {}

  size_t count() const { return samples * length; }

  template <class Body>
  void for_each(Body body) const {
    parallel_chunks(channels, rows_per_chunk(count()), [&](size_t first, size_t end) {
      for (size_t channel = first; channel < end; channel++) body(channel);
    });
  }
  // Calls body(at, n) for the pieces of a channel, in their order.
  template <class Body>
  void for_each_piece(size_t channel, Body body) const {
    for (size_t sample = 0; sample < samples; sample++)
      for (size_t first = 0; first < length; first += kPiece)
        body((sample * channels + channel) * length + first, std::min(kPiece, length - first));
  }
};

// operands: x, gamma [channels], beta [channels], y, mean [channels], variance [channels] (without Bessel's
// correction); attrs: [eps]. Sums in double; those of pieces of x are rounded to T.
template <class T>
void batch_norm_of(const OpCall& call) {
  const Channels all(call[0]);
  const FloatKernels<T>& kernels = kernels_of<T>();
  const T* x = call[0].as<T>();
  T* y = call[3].as<T>();
  const double count = static_cast<double>(all.count());
  all.for_each([&](size_t channel) {
    double sum = 0;
    all.for_each_piece(channel,
                       [&](size_t at, size_t n) { sum += static_cast<double>(kernels.sum(x + at, n)); });
    const T mean = static_cast<T>(sum / count);
    double squares = 0, rest = 0;
    T centred[kPiece];
    all.for_each_piece(channel, [&](size_t at, size_t n) {
      kernels.binary[kSub](x + at, 1, &mean, 0, centred, n);
      squares += kernels.extent(centred, n).sum_squares;
      rest += static_cast<double>(kernels.sum(centred, n));
    });
    // What the rounding of the mean adds to the squares is taken off.
    const double variance = std::max(squares / count - rest / count * (rest / count), 0.0);
    const T scale =
        static_cast<T>(static_cast<double>(call[1].as<T>()[channel]) / std::sqrt(variance + call.attrs[0]));
    const T shift = call[2].as<T>()[channel];
    all.for_each_piece(channel, [&](size_t at, size_t n) {
      for (size_t i = at; i < at + n; i++) y[i] = (x[i] - mean) * scale + shift;
    });
    call[4].as<T>()[channel] = mean;
    call[5].as<T>()[channel] = static_cast<T>(variance);
  });
}

// operands: x, gamma, mean, variance, dy, dx, dgamma, dbeta; attrs: [eps]. With the normalised z = (x - mean)
// / deviation: dx = gamma / deviation (dy - mean(dy) - z mean(dy z)).
template <class T>
void batch_norm_grad_of(const OpCall& call) {
  const Channels all(call[0]);
  const FloatKernels<T>& kernels = kernels_of<T>();
  const T *x = call[0].as<T>(), *dy = call[4].as<T>();
  T* dx = call[5].as<T>();
  const double count = static_cast<double>(all.count());
  all.for_each([&](size_t channel) {
    const T mean = call[2].as<T>()[channel];
    const double inverse = 1 / std::sqrt(static_cast<double>(call[3].as<T>()[channel]) + call.attrs[0]);
    double sum = 0, product = 0;  // of dy, and of dy with the centred x
    T centred[kPiece];
    all.for_each_piece(channel, [&](size_t at, size_t n) {
      sum += static_cast<double>(kernels.sum(dy + at, n));
      kernels.binary[kSub](x + at, 1, &mean, 0, centred, n);
      kernels.binary[kMul](centred, 1, dy + at, 1, centred, n);
      product += static_cast<double>(kernels.sum(centred, n));
    });
    const double scale = static_cast<double>(call[1].as<T>()[channel]) * inverse;
    const T by_dy = static_cast<T>(scale), by_mean = static_cast<T>(sum / count),
            by_x = static_cast<T>(scale * inverse * inverse * product / count);
    all.for_each_piece(channel, [&](size_t at, size_t n) {
      for (size_t i = at; i < at + n; i++) dx[i] = (dy[i] - by_mean) * by_dy - (x[i] - mean) * by_x;
    });
    call[6].as<T>()[channel] = static_cast<T>(product * inverse);
    call[7].as<T>()[channel] = static_cast<T>(sum);
  });
}

}  // namespace

void op_batchNorm(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, batch_norm_of, call); }
void op_batchNormGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, batch_norm_grad_of, call);
}

}  // namespace drivetrain
