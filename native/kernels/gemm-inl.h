// Matrix products. Ways, chosen by shape and strides alone:
//   thin      few rows or columns: memory binds, and large operands are read once, from end to end
//   Blocks    everything else: tiles of C in registers, blocks of A and B in the caches
// Work is cut by shape and each value of C is summed in an order that the shape fixes, so the number of
// threads changes nothing.

// A B of up to so many values is read in place again and again.
constexpr size_t kInCache = 1 << 14;

template <class V>
bool takes_dots(const GemmArgs<typename V::T>& g) {
  const bool few_rows = g.m <= (V::kLanes > 1 && g.k >= 64 ? 8 * V::kDotRows : 4);
  return !g.b_packed && g.k > 1 && g.b_row == 1 && ((few_rows && g.b_col != 1) || (g.n <= 2 && g.a_col == 1));
}

template <class V>
void gemm_dots(const GemmArgs<typename V::T>& g, bool parallel) {
  using T = typename V::T;
  GemmArgs<T> contiguous = g;
  if (g.a_col != 1) {
    T* a = (T*)scratch(1, g.m * g.k * sizeof(T));
    for (size_t i = 0; i < g.m; ++i)
      pack_panel<1>(g.a + (ptrdiff_t)i * g.a_row, g.a_col, g.a_row, g.k, 1, a + i * g.k);
    contiguous.a = a, contiguous.a_row = (ptrdiff_t)g.k, contiguous.a_col = 1;
  }
  split(contiguous, parallel, 4, 16, dots<V>);
}

template <class V>
bool takes_few_rows(const GemmArgs<typename V::T>& g) {
  return !g.b_packed && g.k > 0 && g.b_col == 1 &&
         (g.m == 1 || (g.m <= (V::kLanes == 1 ? 8 : 4) && g.k * g.n > kInCache));
}

// A column of C from an A whose columns are contiguous: the same as a row from A transposed.
template <class T>
bool is_column(const GemmArgs<T>& g) {
  return g.n == 1 && g.m > 1 && g.a_row == 1 && g.a_col != 1 && g.c_row == 1 && !g.bias && !g.b_packed &&
         (!g.residual || g.residual_row == 1);
}
template <class T>
GemmArgs<T> transposed(const GemmArgs<T>& g) {
  GemmArgs<T> t = g;
  t.m = g.n, t.n = g.m;
  t.a = g.b, t.a_row = g.b_col, t.a_col = g.b_row;
  t.b = g.a, t.b_row = g.a_col, t.b_col = g.a_row;
  return t;
}

template <class V>
void gemm_one(const GemmArgs<typename V::T>& g, bool parallel) {
  if (g.m == 0 || g.n == 0) return;
  if (is_column(g)) return gemm_one<V>(transposed(g), parallel);
  parallel = parallel && g.m * g.n * g.k > kSerialMacs;
  if (g.b_packed && g.m == 1 && g.k > 0) return RowTimesPacked<V>::gemm(g, parallel);
  if (takes_dots<V>(g)) return gemm_dots<V>(g, parallel);
  if (takes_few_rows<V>(g)) return FewRows<V>::gemm(g, parallel);
  if (Flipped<V>::takes(g)) return Flipped<V>::gemm(g, parallel);
  Blocks<V>::gemm(g, parallel);
}

template <class V>
void gemm(const GemmArgs<typename V::T>& g) {
  gemm_one<V>(g, true);
}
