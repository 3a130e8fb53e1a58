// What attention and its gradients are made of: products of a few rows and a panel of columns, transposition,
// and masks.

// The tile, and the panel of queries as wide as it. With one lane a row at a time: GCC 12 makes vectors of
// the values of A otherwise, and reads beyond its end.
template <class V>
constexpr int kAttentionRows = V::kLanes == 1 ? 1 : V::kTileRows;
template <class V>
constexpr int kAttentionVecs = V::kLanes == 1 ? 16 : V::kTileVecs;
template <class V>
constexpr size_t kPanel = kAttentionVecs<V>* V::kLanes;

// C[r, j] = sum_p A[r, p] B[p, j], or with kAdd the sum + factor[j] * C[r, j], for R rows and W vectors of
// columns. A[r, p] is a[r * a_row + p * a_col], B[p, j] is b[p * b_row + j].
template <class V, int R, int W, bool kAdd>
void attention_tile(size_t depth, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                    const typename V::T* b, ptrdiff_t b_row, typename V::T* c, ptrdiff_t c_row,
                    const V* factor) {
  V sum[R][W];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = V::set1(0);
  for (size_t p = 0; p < depth; ++p, a += a_col, b += b_row) {
    V bs[W];
    DT_UNROLL for (int w = 0; w < W; ++w) bs[w] = V::load(b + w * V::kLanes);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const V as = V::set1(a[r * a_row]);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = mul_add(as, bs[w], sum[r][w]);
    }
  }
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) {
    typename V::T* out = c + r * c_row + w * V::kLanes;
    store(out, kAdd ? mul_add(V::load(out), factor[w], sum[r][w]) : sum[r][w]);
  }
}

template <class V, int R, int W, bool kAdd>
void attention_tile_rows(size_t rows, size_t depth, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                         const typename V::T* b, ptrdiff_t b_row, typename V::T* c, ptrdiff_t c_row,
                         const V* factor) {
  if constexpr (R > 1) {
    if (rows < R)
      return attention_tile_rows<V, R - 1, W, kAdd>(rows, depth, a, a_row, a_col, b, b_row, c, c_row, factor);
  }
  attention_tile<V, R, W, kAdd>(depth, a, a_row, a_col, b, b_row, c, c_row, factor);
}

// Any number of rows, in tiles of about the same height.
template <class V, int W, bool kAdd>
void attention_product(size_t rows, size_t depth, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                       const typename V::T* b, ptrdiff_t b_row, typename V::T* c, ptrdiff_t c_row,
                       const V* factor) {
  if (rows == 0) return;
  const size_t step = even_part(rows, kAttentionRows<V>, 1);
  for (size_t i = 0; i < rows; i += step)
    attention_tile_rows<V, kAttentionRows<V>, W, kAdd>(smaller(step, rows - i), depth,
                                                       a + (ptrdiff_t)i * a_row, a_row, a_col, b, b_row,
                                                       c + (ptrdiff_t)i * c_row, c_row, factor);
}

// dst[j * dst_row + i] = src[i * src_row + j]
template <class T>
void turn(const T* src, ptrdiff_t src_row, size_t rows, size_t cols, T* dst, ptrdiff_t dst_row) {
  size_t i = 0;
  for (; i + 4 <= rows; i += 4, src += 4 * src_row) {
    size_t j = 0;
    for (; j + 4 <= cols; j += 4) transpose4(src + j, src_row, dst + (ptrdiff_t)j * dst_row + i, dst_row);
    for (; j < cols; ++j)
      for (size_t r = 0; r < 4; ++r)
        dst[(ptrdiff_t)j * dst_row + (ptrdiff_t)(i + r)] = src[(ptrdiff_t)r * src_row + (ptrdiff_t)j];
  }
  for (; i < rows; ++i, src += src_row)
    for (size_t j = 0; j < cols; ++j) dst[(ptrdiff_t)j * dst_row + (ptrdiff_t)i] = src[j];
}

// How many keys there are without those at the end that the mask hides from all queries.
template <class T>
size_t keys_to_meet(const AttentionArgs<T>& a) {
  size_t keys = a.keys;
  if (a.mask && a.mask_row == 0)
    while (keys && !a.mask[(ptrdiff_t)(keys - 1) * a.mask_col]) --keys;
  return keys;
}

// How many of `keys` queries up to the `end`th may see.
template <class T>
size_t keys_before(const AttentionArgs<T>& a, size_t keys, size_t end) {
  return a.causal ? smaller(keys, a.first + end) : keys;
}

// Sets the scores of keys that a query may not see to -infinity. scores[j * row + i] is the score of key j0 +
// j and query i0 + i.
template <class T>
void hide(const AttentionArgs<T>& a, size_t i0, size_t queries, size_t j0, size_t keys, T* scores,
          size_t row) {
  const T never = -(T)__builtin_inff();
  if (a.causal && j0 + keys > a.first + i0 + 1)
    for (size_t j = 0; j < keys; ++j) {
      const size_t key = j0 + j, query = a.first + i0;
      for (size_t i = 0; i < queries && query + i < key; ++i) scores[j * row + i] = never;
    }
  if (!a.mask) return;
  const uint8_t* mask = a.mask + (ptrdiff_t)i0 * a.mask_row + (ptrdiff_t)j0 * a.mask_col;
  if (a.mask_row == 0) {
    for (size_t j = 0; j < keys; ++j, mask += a.mask_col)
      for (size_t i = 0; i < queries && !*mask; ++i) scores[j * row + i] = never;
    return;
  }
  // Most masks have long runs, so eight flags are looked at together.
  for (size_t i = 0; i < queries; ++i, mask += a.mask_row)
    for (size_t j = 0; j < keys; j += 8) {
      const size_t count = smaller(8, keys - j);
      if (a.mask_col == 1 && count == 8) {
        uint64_t flags;
        memcpy(&flags, mask + j, 8);
        const bool all = !((flags - 0x0101010101010101) & ~flags & 0x8080808080808080);  // no byte is 0
        if (all) continue;
      }
      unsigned hidden = 0;
      for (size_t c = 0; c < count; ++c) hidden |= (unsigned)!mask[(ptrdiff_t)(j + c) * a.mask_col] << c;
      for (; hidden; hidden &= hidden - 1) scores[(j + (size_t)__builtin_ctz(hidden)) * row + i] = never;
    }
}
