// Adafactor: a matrix keeps the running averages of its squared gradients' means by rows and by columns, and
// what is no matrix those of each element. Matrices are cut into tiles by their shape; sums over tiles are in
// double and added in the order of the tiles, so that a step depends on neither threads nor neighbours.
#include <cmath>

#include "kernels_of.h"
#include "optimizer_call.h"

namespace drivetrain {
namespace {

// How a parameter is cut, and where its own begins among what all parameters have of a kind.
struct Layout {
  static constexpr size_t kTileRows = 64, kTileCols = 1024, kTileOfVector = 8192;

  bool factored;
  size_t matrices, rows, cols;
  size_t tile_cols, down, across;        // tiles of each matrix
  size_t row, column, moment, momentum;  // in the state
  size_t tile, row_sum, column_sum;      // among the sums

  static constexpr size_t aligned(size_t size) {
    constexpr size_t kUnit = OptimizerCall::kAlignment;
    return (size + kUnit - 1) / kUnit * kUnit;
  }

  size_t tiles() const { return matrices * down * across; }
  size_t size() const { return matrices * rows * cols; }

  // The cut of a parameter, with everything beginning where that of the one before ends.
  static Layout after(const Layout& before, const TensorRef& param) {
    Layout l{};
    l.factored = param.rank >= 2;
    l.rows = l.factored ? static_cast<size_t>(param.shape[param.rank - 2]) : 1;
    l.cols = l.factored ? param.cols() : param.size();
    l.matrices = 1;
    for (int d = 0; d + 2 < param.rank; d++) l.matrices *= static_cast<size_t>(param.shape[d]);
    l.tile_cols = l.factored ? kTileCols : kTileOfVector;
    l.down = (l.rows + kTileRows - 1) / kTileRows;
    l.across = (l.cols + l.tile_cols - 1) / l.tile_cols;
    l.row = before.row + (before.factored ? aligned(before.matrices * before.rows) : 0);
    l.column = before.column + (before.factored ? aligned(before.matrices * before.cols) : 0);
    l.moment = before.moment + (before.factored ? 0 : aligned(before.size()));
    l.momentum = before.momentum + aligned(before.size());
    l.tile = before.tile + before.tiles();
    l.row_sum = before.row_sum + (before.factored ? before.matrices * before.rows * before.across : 0);
    l.column_sum = before.column_sum + (before.factored ? before.matrices * before.down * before.cols : 0);
    return l;
  }
};

// One tile: rows first_row .. first_row + rows of a matrix, and columns first_col .. first_col + cols.
struct Tile {
  size_t matrix, down, across, first_row, rows, first_col, cols;

  Tile(const Layout& l, size_t index)
      : matrix(index / (l.down * l.across)),
        down(index / l.across % l.down),
        across(index % l.across),
        first_row(down * Layout::kTileRows),
        rows(std::min(Layout::kTileRows, l.rows - first_row)),
        first_col(across * l.tile_cols),
        cols(std::min(l.tile_cols, l.cols - first_col)) {}

  // Where row r of the tile begins in its parameter.
  size_t at(const Layout& l, size_t r) const {
    return (matrix * l.rows + first_row + r) * l.cols + first_col;
  }
};

// Options: lr, eps 1, eps 2, clip threshold, decay rate, beta1, weight decay, scale parameter, relative step,
// warm-up, maximize. State: rows, columns, moments, and with momentum its buffer.
template <class T>
class Adafactor {
 public:
  explicit Adafactor(const OptimizerCall& op)
      : op_(op),
        gradients_(op),
        h_(op.options()),
        t_(op.counters()[0] + 1),
        args_{.scale = op.scale(h_[10]),
              .beta2 = 1 - std::pow(t_, h_[4]),
              .eps = h_[1],
              .keep = 1,
              .step = 0,
              .beta1 = h_[5]},
        layouts_(static_cast<Layout*>(scratch(5, (op.count + 1) * sizeof(Layout)))) {
    layouts_[0] = Layout::after(Layout{}, op.param(0));
    for (size_t i = 1; i < op.count; i++) layouts_[i] = Layout::after(layouts_[i - 1], op.param(i));
    const Layout end = layouts_[op.count] = Layout::after(layouts_[op.count - 1], op.param(0));
    row_sums_ =
        static_cast<double*>(scratch(6, (end.row_sum + end.column_sum + 2 * end.tile) * sizeof(double)));
    column_sums_ = row_sums_ + end.row_sum;
    tile_params_ = column_sums_ + end.column_sum;
    tile_updates_ = tile_params_ + end.tile;
    row_factors_ = static_cast<T*>(scratch(7, (end.row + end.column) * sizeof(T)));
    column_factors_ = row_factors_ + end.row;
  }

  void step() {
    for_each_tile(
        [&](size_t i, const Layout& l, const Tile& tile, size_t index) { add_up(i, l, tile, index); });
    parallel_chunks(op_.count, 1, [&](size_t i, size_t) {
      const Layout& l = layouts_[i];
      for (size_t matrix = 0; l.factored && l.size() > 0 && matrix < l.matrices; matrix++)
        factorise(l, matrix);
    });
    for_each_tile([&](size_t i, const Layout& l, const Tile& tile, size_t index) {
      if (!l.factored) return;
      double sum = 0;
      for (size_t r = 0; r < tile.rows; r++)
        sum += optim_.adafactor_squares(row_factor(l, tile, r), grad(i) + tile.at(l, r),
                                        column_factors(l, tile), tile.cols);
      tile_updates_[index] = sum;
    });
    const AdafactorArgs* const of = steps();
    for_each_tile([&](size_t i, const Layout& l, const Tile& tile, size_t) { apply(of[i], i, l, tile); });
    op_.counters()[0] = t_;
  }

 private:
  // Calls body(parameter, layout, tile, place of the tile among all) for every tile.
  template <class Body>
  void for_each_tile(Body body) {
    constexpr size_t kTilesPerChunk = 2;
    parallel_chunks(layouts_[op_.count].tile, kTilesPerChunk, [&](size_t first, size_t end) {
      const auto after = [](size_t index, const Layout& l) { return index < l.tile; };
      size_t i =
          static_cast<size_t>(std::upper_bound(layouts_, layouts_ + op_.count, first, after) - layouts_) - 1;
      for (size_t index = first; index < end; index++) {
        while (layouts_[i + 1].tile <= index) i++;
        body(i, layouts_[i], Tile(layouts_[i], index - layouts_[i].tile), index);
      }
    });
  }

  T* param(size_t i) const { return op_.param(i).template as<T>(); }
  const T* grad(size_t i) const { return gradients_.of(i); }
  T row_factor(const Layout& l, const Tile& tile, size_t r) const {
    return row_factors_[l.row + tile.matrix * l.rows + tile.first_row + r];
  }
  const T* column_factors(const Layout& l, const Tile& tile) const {
    return column_factors_ + l.column + tile.matrix * l.cols + tile.first_col;
  }

  // Sums of squares of a tile: of the parameter, and of the gradient by rows and columns; or the moments.
  void add_up(size_t i, const Layout& l, const Tile& tile, size_t index) {
    double params = 0;
    for (size_t r = 0; h_[7] != 0 && r < tile.rows; r++)
      params += all_.extent(param(i) + tile.at(l, r), tile.cols).sum_squares;
    tile_params_[index] = params;
    if (l.factored) {
      optim_.sum_squares_tile(grad(i) + tile.at(l, 0), tile.rows, l.cols, tile.cols,
                              row_sums_ + row_sums_of(l, tile.matrix, tile.across) + tile.first_row,
                              column_sums_ + column_sums_of(l, tile.matrix, tile.down) + tile.first_col);
    } else {
      T* const moment = op_.state(2).template as<T>() + l.moment + tile.first_col;
      tile_updates_[index] = optim_.adafactor_moment(args_, grad(i) + tile.first_col, moment, tile.cols);
    }
  }

  // Where the sums of all rows begin that the tiles of one column of tiles give, and the other way round.
  size_t row_sums_of(const Layout& l, size_t matrix, size_t across) const {
    return l.row_sum + (matrix * l.across + across) * l.rows;
  }
  size_t column_sums_of(const Layout& l, size_t matrix, size_t down) const {
    return l.column_sum + (matrix * l.down + down) * l.cols;
  }

  // A matrix's rows and columns of the state, and from these the factors of its updates.
  void factorise(const Layout& l, size_t matrix) {
    T* const rows = op_.state(0).template as<T>() + l.row + matrix * l.rows;
    T* const columns = op_.state(1).template as<T>() + l.column + matrix * l.cols;
    double all = 0;
    for (size_t r = 0; r < l.rows; r++) {
      double sum = 0;
      for (size_t k = 0; k < l.across; k++) sum += row_sums_[row_sums_of(l, matrix, k) + r];
      all += rows[r] = blend(rows[r], sum / static_cast<double>(l.cols));
    }
    const double mean = all / static_cast<double>(l.rows);
    for (size_t r = 0; r < l.rows; r++)
      row_factors_[l.row + matrix * l.rows + r] =
          static_cast<T>(args_.scale / std::sqrt(static_cast<double>(rows[r]) / mean));
    for (size_t c = 0; c < l.cols; c++) {
      double sum = 0;
      for (size_t k = 0; k < l.down; k++) sum += column_sums_[column_sums_of(l, matrix, k) + c];
      columns[c] = blend(columns[c], sum / static_cast<double>(l.rows));
      column_factors_[l.column + matrix * l.cols + c] =
          static_cast<T>(1 / std::sqrt(static_cast<double>(columns[c])));
    }
  }

  T blend(T old, double mean_square) const {
    const double now = args_.scale * args_.scale * mean_square + args_.eps;
    return static_cast<T>(args_.beta2 * static_cast<double>(old) + (1 - args_.beta2) * now);
  }

  // The coefficients of each parameter's step.
  const AdafactorArgs* steps() {
    AdafactorArgs* const of = static_cast<AdafactorArgs*>(scratch(4, op_.count * sizeof(AdafactorArgs)));
    const double fastest = h_[9] != 0 ? std::min(h_[0], 1e-6 * t_) : h_[0];
    const double rate = h_[8] != 0 ? std::min(fastest, 1 / std::sqrt(t_)) : h_[0];
    for (size_t i = 0; i < op_.count; i++) {
      double params = 0, updates = 0;
      for (size_t tile = layouts_[i].tile; tile < layouts_[i + 1].tile; tile++)
        params += tile_params_[tile], updates += tile_updates_[tile];
      const double n = static_cast<double>(layouts_[i].size());
      const double lr = h_[7] != 0 ? rate * std::max(h_[2], std::sqrt(params / n)) : rate;
      of[i] = args_;
      of[i].keep = 1 - h_[6] * lr;
      of[i].step = lr / std::max(1.0, std::sqrt(updates / n) / h_[3]);
    }
    return of;
  }

  void apply(const AdafactorArgs& args, size_t i, const Layout& l, const Tile& tile) {
    for (size_t r = 0; r < tile.rows; r++) {
      const size_t at = tile.at(l, r);
      T* const m = op_.states > 3 ? op_.state(3).template as<T>() + l.momentum + at : nullptr;
      const T* const column =
          l.factored ? column_factors(l, tile) : op_.state(2).template as<T>() + l.moment + tile.first_col;
      const T row = l.factored ? row_factor(l, tile, r) : static_cast<T>(args.scale);
      optim_.adafactor_apply(args, l.factored, row, param(i) + at, grad(i) + at, column, m, tile.cols);
    }
  }

  const OptimizerCall& op_;
  const ReadyGradients<T> gradients_;
  const double* const h_;
  const double t_;
  const AdafactorArgs args_;
  const FloatKernels<T>& all_ = kernels_of<T>();
  const OptimizerKernels<T>& optim_ = all_.optim;
  Layout* const layouts_;  // and the end
  double *row_sums_, *column_sums_, *tile_params_, *tile_updates_;
  T *row_factors_, *column_factors_;
};

template <class T>
void adafactor_of(const OptimizerCall& op) {
  Adafactor<T>(op).step();
}

}  // namespace

void op_adafactor(const OpCall& call) { run_optimizer<adafactor_of<float>, adafactor_of<double>>(call); }

}  // namespace drivetrain
