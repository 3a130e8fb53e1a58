// Convolutions over planes as matrix products: each window becomes a column (im2col). Samples are taken a few
// at once, so that the columns of a large batch are never all in memory. attrs: those of Windows, then the
// groups. With G groups, x [n, c, h, w] is seen as [n, G, c/G, h, w], y [n, o, oh, ow] as [n, G, o/G, oh*ow]
// and weight [o, c/G, kh, kw] as [G, o/G, c/G*kh*kw].
#include <algorithm>
#include <cstring>

#include "fill.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"
#include "windows.h"

namespace drivetrain {
namespace {

constexpr int kColumnsSlot = 4, kTransposedSlot = 5;  // of scratch
constexpr size_t kColumnsBytes = size_t{1} << 20;     // of the samples that are taken at once, or one sample

struct Convolution {
  Windows windows;
  size_t samples, groups, channels, features;  // channels of x and features of y, in all groups
  size_t taps, places;                         // of a window, and windows in a plane

  Convolution(const OpCall& call, const TensorRef& x, const TensorRef& y)
      : windows(call, x, y),
        samples(static_cast<size_t>(x.shape[0])),
        groups(static_cast<size_t>(call.attrs[8])),
        channels(static_cast<size_t>(x.shape[1])),
        features(static_cast<size_t>(y.shape[1])),
        taps(windows.taps()),
        places(windows.out_size()) {}

  size_t rows() const { return channels * taps; }  // of the columns of a sample
  size_t depth() const { return rows() / groups; }
  size_t width() const { return features / groups; }
  size_t x_step() const { return channels * windows.in_size(); }
  size_t y_step() const { return features * places; }
  // Whether a plane is its own columns.
  bool is_plain() const {
    const Windows& w = windows;
    return taps == 1 && w.stride[0] == 1 && w.stride[1] == 1 && w.padding[0] == 0 && w.padding[1] == 0;
  }
  template <class T>
  size_t samples_at_once() const {
    const size_t bytes = std::max(rows() * places * sizeof(T), size_t{1});
    return std::min(samples, std::max(kColumnsBytes / bytes, size_t{1}));
  }
};

// One row of the columns: what tap `tap` of each window sees of a plane; 0 in the padding.
template <class T>
void row_of_columns(const Windows& w, const T* plane, size_t tap, T* row) {
  const ptrdiff_t ky = static_cast<ptrdiff_t>(tap) / w.kernel[1],
                  kx = static_cast<ptrdiff_t>(tap) % w.kernel[1];
  const ptrdiff_t first = w.first_inside(1, kx), end = std::max(w.end_inside(1, kx), first);
  for (ptrdiff_t y = 0; y < w.out[0]; y++, row += w.out[1]) {
    const ptrdiff_t from_y = w.place(0, y, ky);
    if (from_y < 0 || from_y >= w.in[0] || first >= w.out[1]) {
      std::fill(row, row + w.out[1], T{0});
      continue;
    }
    const T* from = plane + from_y * w.in[1] + w.place(1, first, kx);
    std::fill(row, row + first, T{0});
    if (w.stride[1] == 1)
      std::copy(from, from + (end - first), row + first);
    else
      for (ptrdiff_t x = first; x < end; x++) row[x] = from[(x - first) * w.stride[1]];
    std::fill(row + end, row + w.out[1], T{0});
  }
}

// Adds a row of the columns to where it came from.
template <class T>
void add_row_of_columns(const Windows& w, const T* row, size_t tap, T* plane) {
  const ptrdiff_t ky = static_cast<ptrdiff_t>(tap) / w.kernel[1],
                  kx = static_cast<ptrdiff_t>(tap) % w.kernel[1];
  const ptrdiff_t first = w.first_inside(1, kx), end = w.end_inside(1, kx);
  if (first >= end) return;
  const size_t n = static_cast<size_t>(end - first);
  for (ptrdiff_t y = w.first_inside(0, ky); y < w.end_inside(0, ky); y++) {
    const T* from = row + y * w.out[1] + first;
    T* to = plane + w.place(0, y, ky) * w.in[1] + w.place(1, first, kx);
    if (w.stride[1] == 1)
      kernels_of<T>().binary[kAdd](to, 1, from, 1, to, n);
    else
      for (size_t i = 0; i < n; i++) to[static_cast<ptrdiff_t>(i) * w.stride[1]] += from[i];
  }
}

// The columns of `count` samples: row r of sample s begins at columns[s * sample_step + r * row_step].
template <class T>
void columns_of(const Convolution& c, const T* x, size_t count, T* columns, size_t sample_step,
                size_t row_step) {
  parallel_chunks(count * c.channels, rows_per_chunk(c.taps * c.places), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      const size_t sample = i / c.channels, channel = i % c.channels;
      T* const rows = columns + sample * sample_step + channel * c.taps * row_step;
      for (size_t tap = 0; tap < c.taps; tap++)
        row_of_columns(c.windows, x + i * c.windows.in_size(), tap, rows + tap * row_step);
    }
  });
}

// The batch dimensions of products over samples and groups, in steps of a, b and c along each.
GemmBatch samples_and_groups(size_t samples, size_t groups, size_t a_sample, size_t a_group, size_t b_sample,
                             size_t b_group, size_t c_sample, size_t c_group) {
  GemmBatch batch{};
  batch.rank = 2;
  batch.count[0] = samples, batch.count[1] = groups;
  const auto set = [](ptrdiff_t(&step)[GemmBatch::kMaxRank], size_t sample, size_t group) {
    step[0] = static_cast<ptrdiff_t>(sample), step[1] = static_cast<ptrdiff_t>(group);
  };
  set(batch.a_step, a_sample, a_group);
  set(batch.b_step, b_sample, b_group);
  set(batch.c_step, c_sample, c_group);
  return batch;
}

template <class T>
void add_bias(const Convolution& c, const T* bias, T* y, size_t samples) {
  parallel_chunks(samples * c.features, rows_per_chunk(c.places), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      T* row = y + i * c.places;
      kernels_of<T>().binary[kAdd](row, 1, bias + i % c.features, 0, row, c.places);
    }
  });
}

// operands: x, weight, (bias [o],) y
template <class T>
void conv2d_of(const OpCall& call) {
  const TensorRef& out = call[call.count - 1];
  const Convolution c(call, call[0], out);
  const T* bias = call.count == 4 ? call[2].as<T>() : nullptr;
  const bool plain = c.is_plain();
  const size_t at_once = plain ? c.samples : c.samples_at_once<T>(), columns_step = c.rows() * c.places;
  if (out.size() == 0) return;
  T* const columns =
      plain ? nullptr : static_cast<T*>(scratch(kColumnsSlot, at_once * columns_step * sizeof(T)));
  GemmArgs<T> args{};
  args.m = c.width(), args.n = c.places, args.k = c.depth();
  args.a = call[1].as<T>();
  args.a_row = static_cast<ptrdiff_t>(c.depth()), args.a_col = 1;
  args.b_row = static_cast<ptrdiff_t>(c.places), args.b_col = 1;
  args.c_row = static_cast<ptrdiff_t>(c.places);
  args.alpha = 1;
  for (size_t first = 0; first < c.samples; first += at_once) {
    const size_t count = std::min(at_once, c.samples - first);
    const T* x = call[0].as<T>() + first * c.x_step();
    T* y = out.as<T>() + first * c.y_step();
    if (!plain) columns_of(c, x, count, columns, columns_step, c.places);
    args.b = plain ? x : columns;
    args.c = y;
    kernels_of<T>().gemm_batched(args,
                                 samples_and_groups(count, c.groups, 0, c.width() * c.depth(), columns_step,
                                                    c.depth() * c.places, c.y_step(), c.width() * c.places));
    if (bias) add_bias(c, bias, y, count);
  }
}

// operands: weight, dy, dx. The columns' gradient is weightᵀ dy; each adds up where its window was.
template <class T>
void conv2d_grad_input_of(const OpCall& call) {
  const TensorRef &dy = call[1], &dx = call[2];
  const Convolution c(call, dx, dy);
  if (dy.size() == 0) return zero(dx);
  const bool plain = c.is_plain();
  const size_t at_once = plain ? c.samples : c.samples_at_once<T>(), columns_step = c.rows() * c.places;
  T* const columns =
      plain ? nullptr : static_cast<T*>(scratch(kColumnsSlot, at_once * columns_step * sizeof(T)));
  GemmArgs<T> args{};
  args.m = c.depth(), args.n = c.places, args.k = c.width();
  args.a = call[0].as<T>();
  args.a_row = 1, args.a_col = static_cast<ptrdiff_t>(c.depth());
  args.b_row = static_cast<ptrdiff_t>(c.places), args.b_col = 1;
  args.c_row = static_cast<ptrdiff_t>(c.places);
  args.alpha = 1;
  for (size_t first = 0; first < c.samples; first += at_once) {
    const size_t count = std::min(at_once, c.samples - first);
    T* to = dx.as<T>() + first * c.x_step();
    args.b = dy.as<T>() + first * c.y_step();
    args.c = plain ? to : columns;
    kernels_of<T>().gemm_batched(
        args, samples_and_groups(count, c.groups, 0, c.width() * c.depth(), c.y_step(), c.width() * c.places,
                                 columns_step, c.depth() * c.places));
    if (plain) continue;
    parallel_chunks(count * c.channels, rows_per_chunk(c.taps * c.places), [&](size_t from, size_t end) {
      for (size_t i = from; i < end; i++) {
        T* plane = to + i * c.windows.in_size();
        std::fill(plane, plane + c.windows.in_size(), T{0});
        for (size_t tap = 0; tap < c.taps; tap++)
          add_row_of_columns(c.windows, columns + (i * c.taps + tap) * c.places, tap, plane);
      }
    });
  }
}

// operands: x, dy, dweight: the sum over samples of dy columnsᵀ. The samples taken at once lie side by side,
// so that one product adds them up.
template <class T>
void conv2d_grad_weight_of(const OpCall& call) {
  const TensorRef &x = call[0], &dy = call[1], &out = call[2];
  const Convolution c(call, x, dy);
  if (dy.size() == 0) return zero(out);
  const size_t at_once = c.samples_at_once<T>(), row = at_once * c.places;
  T* const columns = static_cast<T*>(scratch(kColumnsSlot, c.rows() * row * sizeof(T)));
  T* const beside = static_cast<T*>(scratch(kTransposedSlot, c.features * row * sizeof(T)));
  GemmArgs<T> args{};
  args.m = c.width(), args.n = c.depth();
  args.a = beside;
  args.a_row = static_cast<ptrdiff_t>(row), args.a_col = 1;
  args.b = columns;
  args.b_row = 1, args.b_col = static_cast<ptrdiff_t>(row);
  args.c = out.as<T>();
  args.c_row = static_cast<ptrdiff_t>(c.depth());
  args.alpha = 1;
  for (size_t first = 0; first < c.samples; first += at_once) {
    const size_t count = std::min(at_once, c.samples - first);
    columns_of(c, x.as<T>() + first * c.x_step(), count, columns, c.places, row);
    const T* from = dy.as<T>() + first * c.y_step();
    parallel_chunks(count * c.features, rows_per_chunk(c.places), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; i++)
        std::copy(from + i * c.places, from + (i + 1) * c.places,
                  beside + i % c.features * row + i / c.features * c.places);
    });
    args.k = count * c.places;
    args.beta = first == 0 ? T{0} : T{1};
    kernels_of<T>().gemm_batched(args, samples_and_groups(1, c.groups, 0, c.width() * row, 0, c.depth() * row,
                                                          0, c.width() * c.depth()));
  }
}

}  // namespace

void op_conv2d(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, conv2d_of, call); }
void op_conv2dGradInput(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, conv2d_grad_input_of, call);
}
void op_conv2dGradWeight(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, conv2d_grad_weight_of, call);
}

}  // namespace drivetrain
