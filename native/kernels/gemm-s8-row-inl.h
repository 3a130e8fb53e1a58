// One row of int8 times a packed B, where the row's zero point is 0: words that are 0 bring nothing and are
// left out. Where A is signed, but D takes unsigned bytes first, they change places with B's, moved by 128:
// so moved, A would have no zeros.
template <class D>
struct OneRowS8 {
  using Elem = typename D::Elem;
  using Word = typename D::Word;
  static constexpr size_t kCols = S8<D>::kCols;
  static constexpr size_t kTogether = 4;  // panels that are read side by side
  static constexpr bool kUnsigned = S8<D>::kUnsigned;

  static bool takes(const GemmS8Args& g) {
    const bool is_unsigned = g.a_type == Int8Source::kU8;
    return g.m == 1 && zero_point(g.a_zero, is_unsigned, 0) == 0 && (kUnsigned || !is_unsigned);
  }

  const GemmS8Args* g;
  size_t cols;  // of a chunk, but for the last
  const Elem* a;
  const uint32_t* list;  // of words that are not 0
  size_t count;
  RowS8 term;
  bool trades;

  static void gemm(const GemmS8Args& g) {
    const bool parallel = g.n * g.k > D::kDepth * kSerialMacs;
    const bool is_unsigned = g.a_type == Int8Source::kU8;
    const size_t k = g.k, words = parts_of(k, D::kDepth);
    uint32_t* list = (uint32_t*)scratch(0, words * (sizeof(uint32_t) + sizeof(Word)));
    Elem* __restrict a = (Elem*)(list + words);
    float scale = 1;
    const uint8_t* __restrict from = (const uint8_t*)g.a;
    if (g.a_type == Int8Source::kF32) {
      int8_t* q = (int8_t*)scratch(3, k);
      scale = quantize_row((const float*)g.a, q, k);
      from = (const uint8_t*)q;
    } else if (g.a_scale.at) {
      scale = *g.a_scale.at;
    }
    uint32_t sum = 0;
    if (is_unsigned)
      for (size_t p = 0; p < k; ++p) sum += from[p];
    else
      for (size_t p = 0; p < k; ++p) sum += (uint32_t)(int8_t)from[p];
    for (size_t p = 0; p < k; ++p) a[p] = (Elem)(typename D::Byte)from[p];
    for (size_t p = k; p < words * D::kDepth; ++p) a[p] = 0;
    size_t count = 0;
    for (size_t p = 0; p < words; ++p) {
      uint32_t word = 0;
      memcpy(&word, a + p * D::kDepth, sizeof(Word));
      list[count] = (uint32_t)p;
      count += word != 0;
    }
    const size_t cols = parallel ? round_up(g.n / kChunks + 1, kTogether * kCols) : round_up(g.n, kCols);
    OneRowS8 s{&g, cols, a, list, count, {scale, 0, sum}, kUnsigned && !is_unsigned};
    run_chunks(parallel, parts_of(g.n, cols), chunk, &s);
  }

  static void chunk(void* context, size_t index) {
    const OneRowS8& s = *(const OneRowS8*)context;
    const size_t end = smaller((index + 1) * s.cols, s.g->n);
    size_t j = index * s.cols;
    for (; j + kTogether * kCols <= end; j += kTogether * kCols) s.panels<kTogether>(j);
    for (; j < end; j += kCols) s.panels<1>(j);
  }

  template <size_t P>
  void panels(size_t j) const {
    if constexpr (kUnsigned)
      if (trades)
        return multiply<P>(j, 0 - 128 * term.rest, [](I sum, auto as, auto bs) {
          return D::dot(sum, bs ^ I::set1((int32_t)0x80808080), as);
        });
    multiply<P>(j, 0, [](I sum, auto as, auto bs) { return D::dot(sum, as, bs); });
  }

  template <size_t P, class Dot>
  void multiply(size_t j, uint32_t start, Dot dot) const {
    constexpr int W = F::kTileVecs;
    const size_t apart = S8<D>::panel_bytes(g->k);
    const int8_t* b = g->b_packed + j / kCols * apart;
#define DT_SUMS DT_UNROLL for (size_t i = 0; i < P; ++i) DT_UNROLL for (int w = 0; w < W; ++w)
    I sum[P][W];
    DT_SUMS sum[i][w] = I::set1((int32_t)start);
    for (size_t q = 0; q < count; ++q) {
      Word word;
      memcpy(&word, a + list[q] * D::kDepth, sizeof word);
      const typename D::Words as = D::set1(word);
      const int8_t* from = b + list[q] * D::kDepth * kCols;
      DT_SUMS sum[i][w] = dot(sum[i][w], as, D::load(from + i * apart + w * F::kLanes * D::kDepth));
    }
    int32_t sums[P][kCols];
    DT_SUMS store(sums[i] + w * F::kLanes, sum[i][w]);
#undef DT_SUMS
    for (size_t i = 0; i < P; ++i, j += kCols) {
      const size_t cols = smaller(kCols, g->n - j);
      const int8_t* column_sums = b + i * apart + S8<D>::panel_values(g->k);
      if (S8<D>::corrects_columns(*g))
        S8<D>::correct(*g, term, (const int32_t*)column_sums, j, cols, sums[i]);
      finish_s8<1>(*g, &term, sums[i], 0, j, 1, cols);
    }
  }
};

template <class D>
void gemm_s8(const GemmS8Args& g) {
  if (g.m == 0 || g.n == 0) return;
  OneRowS8<D>::takes(g) ? OneRowS8<D>::gemm(g) : S8<D>::gemm(g);
}
