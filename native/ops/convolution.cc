// Convolutions over planes as matrix products: each window becomes a column (im2col). Some samples are taken
// at once, or some rows of windows of one sample, so that the columns of a large batch are never all in
// memory. attrs: those of Windows, then the groups. With G groups, x [n, c, h, w] is seen as [n, G, c/G, h,
// w], y [n, o, oh, ow] as [n, G, o/G, oh*ow] and weight [o, c/G, kh, kw] as [G, o/G, c/G*kh*kw].
#include <algorithm>

#include "fill.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"
#include "windows.h"

namespace drivetrain {
namespace {

constexpr int kColumnsSlot = 4, kBesideSlot = 5;   // of scratch
constexpr size_t kColumnsBytes = size_t{4} << 20;  // of what is taken at once

// What is taken at once: windows [row, row + rows) of samples [sample, sample + samples).
struct Part {
  size_t sample, samples, row, rows;
};

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

  size_t column() const { return channels * taps; }   // values of all groups
  size_t depth() const { return column() / groups; }  // and of one
  size_t width() const { return features / groups; }  // features of one
  size_t row() const { return static_cast<size_t>(windows.out[1]); }
  size_t x_step() const { return channels * windows.in_size(); }
  size_t y_step() const { return features * places; }
  // Whether a plane is its own columns.
  bool is_plain() const {
    const Windows& w = windows;
    return taps == 1 && w.stride[0] == 1 && w.stride[1] == 1 && w.padding[0] == 0 && w.padding[1] == 0;
  }

  // The first part; all others are no larger.
  template <class T>
  Part first_part() const {
    const size_t room = std::max(kColumnsBytes / (column() * row() * sizeof(T)), size_t{1});  // rows
    const size_t height = static_cast<size_t>(windows.out[0]);
    if (room < height) return {0, 1, 0, room};
    return {0, std::min(room / height, samples), 0, height};
  }
  // Calls body for all parts, in their order.
  template <class Body>
  void for_each_part(const Part& largest, Body body) const {
    const size_t height = static_cast<size_t>(windows.out[0]);
    for (size_t sample = 0; sample < samples; sample += largest.samples)
      for (size_t row = 0; row < height; row += largest.rows)
        body(Part{sample, std::min(largest.samples, samples - sample), row,
                  std::min(largest.rows, height - row)});
  }
};

// One row of the columns: what tap `tap` of the windows of a part sees of a plane; 0 in
// the padding.
template <class T>
void row_of_columns(const Windows& w, const Part& part, const T* plane, size_t tap, T* out) {
  const ptrdiff_t ky = static_cast<ptrdiff_t>(tap) / w.kernel[1],
                  kx = static_cast<ptrdiff_t>(tap) % w.kernel[1];
  const ptrdiff_t first = w.first_inside(1, kx), end = std::max(w.end_inside(1, kx), first);
  for (size_t row = part.row; row < part.row + part.rows; row++, out += w.out[1]) {
    const ptrdiff_t y = w.place(0, static_cast<ptrdiff_t>(row), ky);
    if (y < 0 || y >= w.in[0] || first >= w.out[1]) {
      std::fill(out, out + w.out[1], T{0});
      continue;
    }
    const T* from = plane + y * w.in[1] + w.place(1, first, kx);
    std::fill(out, out + first, T{0});
    if (w.stride[1] == 1)
      std::copy(from, from + (end - first), out + first);
    else
      for (ptrdiff_t x = first; x < end; x++) out[x] = from[(x - first) * w.stride[1]];
    std::fill(out + end, out + w.out[1], T{0});
  }
}

// Adds a row of the columns to where it came from.
template <class T>
void add_row_of_columns(const Windows& w, const Part& part, const T* in, size_t tap, T* plane) {
  const ptrdiff_t ky = static_cast<ptrdiff_t>(tap) / w.kernel[1],
                  kx = static_cast<ptrdiff_t>(tap) % w.kernel[1];
  const ptrdiff_t first = w.first_inside(1, kx), end = w.end_inside(1, kx);
  if (first >= end) return;
  const size_t n = static_cast<size_t>(end - first);
  for (size_t row = part.row; row < part.row + part.rows; row++, in += w.out[1]) {
    const ptrdiff_t y = w.place(0, static_cast<ptrdiff_t>(row), ky);
    if (y < 0 || y >= w.in[0]) continue;
    const T* from = in + first;
    T* to = plane + y * w.in[1] + w.place(1, first, kx);
    if (w.stride[1] == 1)
      kernels_of<T>().binary[kAdd](to, 1, from, 1, to, n);
    else
      for (size_t i = 0; i < n; i++) to[static_cast<ptrdiff_t>(i) * w.stride[1]] += from[i];
  }
}

// The columns of a part: row r of its sample s begins at columns[s * sample_step + r * row_step].
template <class T>
void columns_of(const Convolution& c, const Part& part, const T* x, T* columns, size_t sample_step,
                size_t row_step) {
  const size_t taken = c.taps * part.rows * c.row();
  parallel_chunks(part.samples * c.channels, rows_per_chunk(taken), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      const T* plane = x + (part.sample * c.channels + i) * c.windows.in_size();
      T* const rows = columns + i / c.channels * sample_step + i % c.channels * c.taps * row_step;
      for (size_t tap = 0; tap < c.taps; tap++)
        row_of_columns(c.windows, part, plane, tap, rows + tap * row_step);
    }
  });
}

// Steps of matrices from one sample to the next, and from one group to the next.
struct Steps {
  size_t sample, group;
};

GemmBatch samples_and_groups(size_t samples, size_t groups, Steps a, Steps b, Steps c) {
  GemmBatch batch{};
  batch.rank = 2;
  batch.count[0] = samples, batch.count[1] = groups;
  const auto set = [](ptrdiff_t* step, const Steps& steps) {
    step[0] = static_cast<ptrdiff_t>(steps.sample), step[1] = static_cast<ptrdiff_t>(steps.group);
  };
  set(batch.a_step, a), set(batch.b_step, b), set(batch.c_step, c);
  return batch;
}

template <class T>
void add_bias(const Convolution& c, const Part& part, const T* bias, T* y) {
  const size_t taken = part.rows * c.row();
  parallel_chunks(part.samples * c.features, rows_per_chunk(taken), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      T* row = y + i * c.places;
      kernels_of<T>().binary[kAdd](row, 1, bias + i % c.features, 0, row, taken);
    }
  });
}

// operands: x, weight, (bias [o],) y
template <class T>
void conv2d_of(const OpCall& call) {
  const TensorRef& out = call[call.count - 1];
  const Convolution c(call, call[0], out);
  if (out.size() == 0) return;
  const bool plain = c.is_plain();
  const Part largest = c.template first_part<T>();
  T* const columns = plain ? nullptr
                           : static_cast<T*>(scratch(kColumnsSlot, largest.samples * largest.rows * c.row() *
                                                                       c.column() * sizeof(T)));
  GemmArgs<T> args{};
  args.m = c.width(), args.k = c.depth();
  args.a = call[1].as<T>();
  args.a_row = static_cast<ptrdiff_t>(c.depth()), args.a_col = 1;
  args.b_col = 1;
  args.c_row = static_cast<ptrdiff_t>(c.places);
  args.alpha = 1;
  c.for_each_part(largest, [&](const Part& part) {
    const size_t n = part.rows * c.row(), at = part.row * c.row(), b_row = plain ? c.places : n;
    T* const y = out.as<T>() + part.sample * c.y_step() + at;
    if (!plain) columns_of(c, part, call[0].as<T>(), columns, c.column() * n, n);
    args.n = n;
    args.b = plain ? call[0].as<T>() + part.sample * c.x_step() + at : columns;
    args.b_row = static_cast<ptrdiff_t>(b_row);
    args.c = y;
    kernels_of<T>().gemm_batched(args, samples_and_groups(part.samples, c.groups, {0, c.width() * c.depth()},
                                                          {c.column() * b_row, c.depth() * b_row},
                                                          {c.y_step(), c.width() * c.places}));
    if (call.count == 4) add_bias(c, part, call[2].as<T>(), y);
  });
}

// operands: weight, dy, dx. The columns' gradient is weightᵀ dy; each adds up where its window was.
template <class T>
void conv2d_grad_input_of(const OpCall& call) {
  const TensorRef &dy = call[1], &dx = call[2];
  const Convolution c(call, dx, dy);
  const bool plain = c.is_plain();
  if (!plain || dy.size() == 0) zero(dx);
  if (dy.size() == 0) return;
  const Part largest = c.template first_part<T>();
  T* const columns = plain ? nullptr
                           : static_cast<T*>(scratch(kColumnsSlot, largest.samples * largest.rows * c.row() *
                                                                       c.column() * sizeof(T)));
  GemmArgs<T> args{};
  args.m = c.depth(), args.k = c.width();
  args.a = call[0].as<T>();
  args.a_row = 1, args.a_col = static_cast<ptrdiff_t>(c.depth());
  args.b_row = static_cast<ptrdiff_t>(c.places), args.b_col = 1;
  args.alpha = 1;
  c.for_each_part(largest, [&](const Part& part) {
    const size_t n = part.rows * c.row(), at = part.row * c.row(), c_row = plain ? c.places : n;
    args.n = n;
    args.b = dy.as<T>() + part.sample * c.y_step() + at;
    args.c = plain ? dx.as<T>() + part.sample * c.x_step() + at : columns;
    args.c_row = static_cast<ptrdiff_t>(c_row);
    kernels_of<T>().gemm_batched(args, samples_and_groups(part.samples, c.groups, {0, c.width() * c.depth()},
                                                          {c.y_step(), c.width() * c.places},
                                                          {c.column() * c_row, c.depth() * c_row}));
    if (plain) return;
    parallel_chunks(part.samples * c.channels, rows_per_chunk(c.taps * n), [&](size_t first, size_t end) {
      for (size_t i = first; i < end; i++) {
        T* const plane = dx.as<T>() + (part.sample * c.channels + i) * c.windows.in_size();
        for (size_t tap = 0; tap < c.taps; tap++)
          add_row_of_columns(c.windows, part, columns + (i * c.taps + tap) * n, tap, plane);
      }
    });
  });
}

// operands: x, dy, dweight: the sum over samples of dy columnsᵀ. The samples of a part lie side by side, so
// that one product adds them up.
template <class T>
void conv2d_grad_weight_of(const OpCall& call) {
  const TensorRef &dy = call[1], &out = call[2];
  const Convolution c(call, call[0], dy);
  if (dy.size() == 0) return zero(out);
  const Part largest = c.template first_part<T>();
  const size_t most = largest.samples * largest.rows * c.row();
  T* const columns = static_cast<T*>(scratch(kColumnsSlot, c.column() * most * sizeof(T)));
  T* const beside = static_cast<T*>(scratch(kBesideSlot, c.features * most * sizeof(T)));
  GemmArgs<T> args{};
  args.m = c.width(), args.n = c.depth();
  args.a = beside, args.a_col = 1;
  args.b = columns, args.b_row = 1;
  args.c = out.as<T>();
  args.c_row = static_cast<ptrdiff_t>(c.depth());
  args.alpha = 1;
  c.for_each_part(largest, [&](const Part& part) {
    const size_t n = part.rows * c.row(), all = part.samples * n;
    columns_of(c, part, call[0].as<T>(), columns, n, all);
    const T* const from = dy.as<T>() + part.sample * c.y_step() + part.row * c.row();
    parallel_chunks(part.samples * c.features, rows_per_chunk(n), [&](size_t first, size_t end) {
      for (size_t i = first; i < end; i++)
        std::copy(from + i * c.places, from + i * c.places + n,
                  beside + i % c.features * all + i / c.features * n);
    });
    args.k = all;
    args.a_row = args.b_col = static_cast<ptrdiff_t>(all);
    kernels_of<T>().gemm_batched(args, samples_and_groups(1, c.groups, {0, c.width() * all},
                                                          {0, c.depth() * all}, {0, c.width() * c.depth()}));
    args.beta = 1;
  });
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
