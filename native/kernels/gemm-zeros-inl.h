// Products with an A of many zeros: the background of a picture, what a ReLU let through, rows that are one
// hot. A step of k at which a row of A is 0 adds only zeros to the row of C as long as B is finite, so it is
// left out. A sum takes the steps that are left in the order of the whole product, so its value does not
// depend on whether any are left out (but for the sign of a 0: a sum that sank into denormals and was flushed
// may be -0, which the next 0 would have made 0).

// What it costs, in multiply-adds of the vectors that the whole product would make: a step that is taken 1.7
// of its own; listing a vector's lanes of steps kListing, whatever n is; looking whether B is finite kLooking
// for each of its vectors, however few rows meet it.
constexpr double kListing = 12, kLooking = 3;
// The part of all steps that may be left, where all else costs `beside` of the whole product.
constexpr double most_left(double beside) { return (0.97 - beside) / 1.7; }

// Writes to `list`, in order, the steps at which a row of A, contiguous, is not 0 (a NaN is not), and returns
// how many. There has to be room for k + V::kLanes.
template <class V>
size_t list_steps(const typename V::T* a, size_t k, uint32_t* list) {
  size_t count = 0;
  for_each_vector<V>(k, [&](size_t p, auto at) {
    count += list_unset(equal(at.load(a + p), V::set1(0)), (uint32_t)p, list + count);
  });
  return count;
}

// Of `rows` rows of `cols` values.
template <class V>
bool all_finite(const typename V::T* x, ptrdiff_t row, size_t rows, size_t cols) {
  V zero[4];
  for (V& z : zero) z = V::set1(0);
  size_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * row)
    for_each_vector<V>(cols, [&](size_t j, auto at) {
      DT_UNROLL for (int i = 0; i < 4; ++i) zero[i] = mul_add(at.load(x + i * row + j), V::set1(0), zero[i]);
    });
  for (; r < rows; ++r, x += row)
    for_each_vector<V>(cols,
                       [&](size_t j, auto at) { zero[0] = mul_add(at.load(x + j), V::set1(0), zero[0]); });
  return !any(is_nan((zero[0] + zero[1]) + (zero[2] + zero[3])));
}

struct Steps {
  const uint32_t* at;
  size_t count;
};

// Panels of B that lie side by side, each `apart` behind the one before, and the rows of A that meet them.
template <class T>
struct Listed {
  const Steps* steps;  // of each row; or of two, for all
  bool each;
  const T* a;
  ptrdiff_t a_row;
  const T* b;
  ptrdiff_t b_row, apart;
  T* c;
  ptrdiff_t c_row;
  size_t rows;
};

// The most panels that are taken side by side, of 64 columns, and how few of the steps have to be left for
// more than two: else what rows have in common does not stay in L1.
template <class V>
constexpr size_t kListedTogether = 64 / (V::kTileVecs * V::kLanes);
constexpr double kFewSteps = 0.25;

// A tile (gemm-tile-inl.h) of R rows from row i on, each with its own steps, and P panels, W vectors wide.
// `last` is for a panel alone. kPacked: b_row is that of a packed panel, which spares a multiplication.
template <class V, int R, int P, int W, bool kPacked, class Last>
DT_INLINE void listed_tile(const Listed<typename V::T>& g, size_t i, const Finish<typename V::T>& f,
                           Last last) {
  using T = typename V::T;
  constexpr int kVecs = P * W;
  constexpr ptrdiff_t kLanes = V::kLanes;
  V sum[R][kVecs];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < kVecs; ++w) sum[r][w] = V::set1(0);
  const Steps* steps = g.steps + (g.each ? i : 0);
  const T *a = g.a + (ptrdiff_t)i * g.a_row, *b = g.b;
  const ptrdiff_t a_row = g.a_row, b_row = kPacked ? W * kLanes : g.b_row, apart = g.apart;
  const auto step = [&](int r, size_t q) __attribute__((always_inline)) {
    const ptrdiff_t p = steps[r].at[q];
    const V value = V::set1(a[r * a_row + p]);
    const T* from = b + p * b_row;
    asm("" : "+r"(from));  // or the compiler makes a pointer for each vector, and there are too few registers
    DT_UNROLL for (int w = 0; w < kVecs; ++w) {
      const T* at = from + w / W * apart + w % W * kLanes;
      sum[r][w] = mul_add(value, w == kVecs - 1 && V::kMasks ? last.any(at) : V::load(at), sum[r][w]);
    }
  };
  size_t common = steps[0].count;
  DT_UNROLL for (int r = 1; r < R; ++r) common = smaller(common, steps[r].count);
  for (size_t q = 0; q < common; ++q) DT_UNROLL for (int r = 0; r < R; ++r) step(r, q);
  DT_UNROLL for (int r = 0; r < R; ++r) for (size_t q = common; q < steps[r].count; ++q) step(r, q);
  finish_tile<V, R, kVecs>(sum, last, f, g.c + (ptrdiff_t)i * g.c_row, g.c_row);
}

// Few panels take two rows at a time, so that enough sums are under way.
template <class V, int P, int W, bool kPacked, class Last>
void listed_rows(const Listed<typename V::T>& g, Finish<typename V::T> f, Last last) {
  constexpr size_t R = P < 4 ? 2 : 1;
  size_t i = 0;
  for (; i + R <= g.rows; i += R) {
    listed_tile<V, R, P, W, kPacked>(g, i, f, last);
    if (f.residual) f.residual += (ptrdiff_t)R * f.residual_row;
  }
  if constexpr (R > 1)
    if (i < g.rows) listed_tile<V, 1, P, W, kPacked>(g, i, f, last);
}

template <class V, int P, int W, class Last>
void listed_panels(const Listed<typename V::T>& g, const Finish<typename V::T>& f, Last last) {
  const auto run = g.b_row == W * (ptrdiff_t)V::kLanes ? listed_rows<V, P, W, true, Last>
                                                       : listed_rows<V, P, W, false, Last>;
  run(g, f, last);
}

// `cols` columns: those of kListedTogether or two whole panels, or at most W * kLanes.
template <class V, int W>
void listed_columns(const Listed<typename V::T>& g, const Finish<typename V::T>& f, size_t cols) {
  if constexpr (W == V::kTileVecs) {
    constexpr size_t kCols = W * V::kLanes, kMost = kListedTogether<V>;
    static_assert(kMost == 2 || kMost == 4);
    if (cols == kMost * kCols) return listed_panels<V, kMost, W>(g, f, Whole<V>{});
    if (cols == 2 * kCols) return listed_panels<V, 2, W>(g, f, Whole<V>{});
  }
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes) return listed_columns<V, W - 1>(g, f, cols);
  }
  const size_t rest = cols - (W - 1) * V::kLanes;
  if (rest < V::kLanes)
    listed_panels<V, 1, W>(g, f, Part<V>{rest});
  else
    listed_panels<V, 1, W>(g, f, Whole<V>{});
}

// The steps of all rows of A, each of which is contiguous.
template <class V>
struct Lists {
  using T = typename V::T;
  static constexpr size_t kSamples = 8;
  static constexpr double kLeastTried = 0.2;  // of the steps: so little is left too rarely to be looked for

  const T* a;
  ptrdiff_t a_row;
  size_t rows, depth;
  double most;              // of all steps that may be left: see most_left
  Steps* of_row = nullptr;  // and behind the last row's all steps
  double part_left = 1;     // of all steps

  // Whether some rows, far apart, have few steps left. Takes scratch slot 1.
  bool promises() {
    if (V::kLanes == 1 || most < kLeastTried) return false;
    uint32_t* list = (uint32_t*)scratch(1, apart() * sizeof(uint32_t));
    size_t left = 0;
    for (size_t i = 0; i < samples(); ++i)
      left += list_steps<V>(row((2 * i + 1) * rows / (2 * samples())), depth, list);
    return few(left, samples());
  }
  // Lists the steps, in scratch slot 1, or says that too many would be left: the first rows tell.
  bool make() {
    if (V::kLanes == 1 || most < kLeastTried) return false;
    of_row = (Steps*)scratch(1, (rows + 1) * (sizeof(Steps) + apart() * sizeof(uint32_t)));
    uint32_t* list = (uint32_t*)(of_row + rows + 1);
    size_t left = 0;
    for (size_t i = 0; i < rows; ++i, list += apart()) {
      of_row[i] = {list, list_steps<V>(row(i), depth, list)};
      left += of_row[i].count;
      if ((i + 1 == samples() || i + 1 == rows) && !few(left, i + 1)) return false;
    }
    for (size_t p = 0; p < depth; ++p) list[p] = (uint32_t)p;
    of_row[rows] = {list, depth};
    part_left = (double)left / (double)(rows * depth);
    return true;
  }

 private:
  size_t apart() const { return depth + V::kLanes; }
  const T* row(size_t i) const { return a + (ptrdiff_t)i * a_row; }
  size_t samples() const { return smaller(kSamples, parts_of(rows, 16)); }
  bool few(size_t left, size_t of) const { return (double)left <= most * (double)(of * depth); }
};
