// Products with an A of many zeros: the background of a picture, what a ReLU let through, rows that are one
// hot. A step of k at which all rows of a strip of A are 0 adds only zeros as long as B is finite, so it is
// left out. Sums take the steps that are left in the order of the whole product, so their values do not
// depend on which others were left out, nor on what the other rows of a batch are.

// Rows of a strip, and the part of all steps that may be left for the lists to be worth their making.
constexpr size_t kStripRows = 2;
constexpr double kMostLeft = 0.75;

// Writes to `list`, in order, the steps at which not all of A's `rows` values are 0 (a NaN is not), and
// returns how many. There has to be room for k + V::kLanes.
template <class V>
size_t list_steps(const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col, size_t rows, size_t k,
                  uint32_t* list) {
  size_t count = 0;
  if (a_col == 1) {
    for_each_vector<V>(k, [&](size_t p, auto at) {
      V sum = abs(at.load(a + p));
      for (size_t r = 1; r < rows; ++r) sum = sum + abs(at.load(a + (ptrdiff_t)r * a_row + p));
      count += list_unset(equal(sum, V::set1(0)), (uint32_t)p, list + count);
    });
    return count;
  }
  for (size_t p = 0; p < k; ++p, a += a_col) {
    typename V::T sum = 0;
    for (size_t r = 0; r < rows; ++r) {
      const typename V::T value = a[(ptrdiff_t)r * a_row];
      sum += value < 0 ? -value : value;
    }
    list[count] = (uint32_t)p;
    count += !(sum == 0);
  }
  return count;
}

// Of `rows` rows of `cols` values.
template <class V>
bool all_finite(const typename V::T* x, ptrdiff_t row, size_t rows, size_t cols) {
  V zeros[2] = {V::set1(0), V::set1(0)};
  for (size_t r = 0; r < rows; ++r, x += row)
    for_each_vector<V>(cols, [&](size_t j, auto at) {
      V& zero = zeros[j / V::kLanes % 2];
      zero = mul_add(at.load(x + j), V::set1(0), zero);
    });
  return !any(is_nan(zeros[0] + zeros[1]));
}

// A tile (gemm-tile-inl.h) of the steps of a list. A has any strides; of P panels of B, W vectors wide, each
// lies `apart` behind the one before. `last` is for a panel alone.
template <class V, int R, int P, int W, class Last>
void listed_tile(const uint32_t* list, size_t count, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                 const typename V::T* b, ptrdiff_t b_row, ptrdiff_t apart, const Finish<typename V::T>& f,
                 typename V::T* c, ptrdiff_t c_row, Last last) {
  constexpr int kVecs = P * W;
  constexpr ptrdiff_t kLanes = V::kLanes;
#define DT_TILE DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < kVecs; ++w)
  V sum[R][kVecs];
  DT_TILE sum[r][w] = V::set1(0);
  for (size_t q = 0; q < count; ++q) {
    const ptrdiff_t p = list[q];
    const typename V::T *as = a + p * a_col, *from = b + p * b_row;
    V bs[kVecs];
    DT_UNROLL for (int w = 0; w < kVecs; ++w) {
      const typename V::T* at = from + w / W * apart + w % W * kLanes;
      bs[w] = w == kVecs - 1 && V::kMasks ? last.any(at) : V::load(at);
    }
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const V value = V::set1(as[r * a_row]);
      DT_UNROLL for (int w = 0; w < kVecs; ++w) sum[r][w] = mul_add(value, bs[w], sum[r][w]);
    }
  }
  if (f.activation == Activation::kGelu) {
    typename V::T done[R * kVecs * V::kLanes];
    DT_TILE store(done + (r * kVecs + w) * kLanes, sum[r][w]);
    return finish_rows<V>(done, kVecs * V::kLanes, R, f, c, c_row, (kVecs - 1) * V::kLanes + last.count());
  }
  finish_tile<V, R, kVecs>(sum, last, f, c, c_row);
#undef DT_TILE
}

// listed_tile with `rows` <= R rows and `cols` columns: those of two panels, or at most W * kLanes.
template <class V, int R, int W>
void listed_panel(const uint32_t* list, size_t count, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                  const typename V::T* b, ptrdiff_t b_row, ptrdiff_t apart, const Finish<typename V::T>& f,
                  typename V::T* c, ptrdiff_t c_row, size_t rows, size_t cols) {
  if constexpr (R > 1) {
    if (rows < R)
      return listed_panel<V, R - 1, W>(list, count, a, a_row, a_col, b, b_row, apart, f, c, c_row, rows, cols);
  }
  if constexpr (W == V::kTileVecs) {
    if (cols > W * V::kLanes)
      return listed_tile<V, R, 2, W>(list, count, a, a_row, a_col, b, b_row, apart, f, c, c_row, Whole<V>{});
  }
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes)
      return listed_panel<V, R, W - 1>(list, count, a, a_row, a_col, b, b_row, apart, f, c, c_row, rows, cols);
  }
  const size_t rest = cols - (W - 1) * V::kLanes;
  if (rest < V::kLanes)
    listed_tile<V, R, 1, W>(list, count, a, a_row, a_col, b, b_row, 0, f, c, c_row, Part<V>{rest});
  else
    listed_tile<V, R, 1, W>(list, count, a, a_row, a_col, b, b_row, 0, f, c, c_row, Whole<V>{});
}

// The lists of a block of A, strip by strip, and the list of all its steps.
template <class V>
struct Lists {
  using T = typename V::T;
  static constexpr size_t kSamples = 8, kLeastDepth = 32;

  const T* a;
  ptrdiff_t a_row, a_col;
  size_t rows, depth, strip, strips;
  uint32_t *steps, *counts;

  static Lists of_rows(const T* a, ptrdiff_t a_row, ptrdiff_t a_col, size_t rows, size_t depth) {
    const size_t strip = even_part(rows, kStripRows, 1);
    return {a, a_row, a_col, rows, depth, strip, parts_of(rows, strip), nullptr, nullptr};
  }

  size_t apart() const { return depth + V::kLanes; }
  const uint32_t* list_of(size_t s) const { return steps + s * apart(); }

  // Whether some strips have few steps left. Takes scratch slot 1.
  bool promises() {
    if (V::kLanes == 1 || depth < kLeastDepth) return false;
    steps = (uint32_t*)scratch(1, ((strips + 1) * apart() + strips) * sizeof(uint32_t));
    counts = steps + (strips + 1) * apart();
    const size_t samples = smaller(kSamples, parts_of(strips, 8));
    size_t left = 0;
    for (size_t i = 0; i < samples; ++i) left += list((2 * i + 1) * strips / (2 * samples));
    return few(left, samples);
  }
  // Lists the steps, in scratch slot 1, or says that too many would be left.
  bool make() {
    if (!promises()) return false;
    size_t left = 0;
    for (size_t s = 0; s < strips; ++s) left += list(s);
    if (!few(left, strips)) return false;
    for (size_t p = 0; p < depth; ++p) steps[strips * apart() + p] = (uint32_t)p;
    return true;
  }

 private:
  bool few(size_t left, size_t of) const { return (double)left <= kMostLeft * (double)(of * depth); }
  size_t list(size_t s) {
    const size_t i = s * strip;
    counts[s] = (uint32_t)list_steps<V>(a + (ptrdiff_t)i * a_row, a_row, a_col, smaller(strip, rows - i),
                                        depth, steps + s * apart());
    return counts[s];
  }
};
