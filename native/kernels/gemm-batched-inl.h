// Many products of one shape. Small ones are shared out whole, so many to a chunk that the cost of handing
// out work does not count; large ones run one after another, each cut by itself.

// From so many multiply-adds on, a product gives work to several threads by itself, unless the batch has
// kManyProducts of them.
constexpr size_t kLargeMacs = 1 << 22, kManyProducts = 64;

// A batch of more than kFromMemory bytes comes from memory, and the processor's own prefetching stops at
// every page: a matrix of 32 x 32 is one. What the next product reads and writes is asked for between the
// strips of this one, if a matrix has at most kAheadBytes.
constexpr size_t kFromMemory = 8 << 20, kAheadBytes = 1 << 14;

template <class V>
struct Batched {
  using T = typename V::T;
  const GemmArgs<T>* first;
  const GemmBatch* batch;
  size_t count, per_chunk;
  bool ahead;

  void run(size_t begin, size_t end, bool parallel) const {
    GemmArgs<T> g = *first;
    const GemmBatch& s = *batch;
    size_t at[GemmBatch::kMaxRank];
    size_t rest = begin;
    for (int d = s.rank - 1; d >= 0; --d) {
      at[d] = rest % s.count[d], rest /= s.count[d];
      walk(g, d, (ptrdiff_t)at[d]);
    }
    for (size_t i = begin; i < end; ++i) {
      ahead&& i + 1 < end ? strips(g) : gemm_one<V>(g, parallel);
      for (int d = s.rank - 1; d >= 0; --d) {
        walk(g, d, 1);
        if (++at[d] < s.count[d]) break;
        walk(g, d, -(ptrdiff_t)at[d]);
        at[d] = 0;
      }
    }
  }
  // The product strip by strip, with a part of the next one's memory asked for before each.
  void strips(const GemmArgs<T>& g) const {
    constexpr size_t kStrip = (size_t)V::kTileRows;
    const int d = batch->rank - 1;
    const T* const next[] = {g.a + batch->a_step[d], g.b + batch->b_step[d], g.c + batch->c_step[d]};
    const size_t sizes[] = {g.m * g.k, g.k * g.n, g.m * g.n};
    for (size_t i = 0; i < g.m; i += kStrip) {
      for (int part = 0; part < 3; ++part) {
        const size_t share = round_up(sizes[part] * kStrip / g.m + 1, 64 / sizeof(T));
        const size_t from = i / kStrip * share, to = smaller(from + share, sizes[part]);
        for (size_t at = from; at < to; at += 64 / sizeof(T)) __builtin_prefetch(next[part] + at, 0, 2);
      }
      gemm_one<V>(block_of(g, i, kStrip, 0, g.n), false);
    }
  }
  void walk(GemmArgs<T>& g, int d, ptrdiff_t steps) const {
    g.a += steps * batch->a_step[d];
    if (!g.b_packed) g.b += steps * batch->b_step[d];
    g.c += steps * batch->c_step[d];
    if (g.residual) g.residual += steps * batch->residual_step[d];
  }
  static void chunk(void* context, size_t index) {
    const Batched& s = *(const Batched*)context;
    s.run(index * s.per_chunk, smaller((index + 1) * s.per_chunk, s.count), false);
  }
};

template <class V>
void gemm_batched(const GemmArgs<typename V::T>& first, const GemmBatch& batch) {
  Batched<V> s{&first, &batch, 1, 1, false};
  for (int d = 0; d < batch.rank; ++d) s.count *= batch.count[d];
  if (s.count == 0) return;
  const size_t macs = first.m * first.n * first.k;
  if (s.count == 1 || (macs >= kLargeMacs && s.count < kManyProducts)) return s.run(0, s.count, true);
  constexpr size_t kMost = kAheadBytes / sizeof(typename V::T);
  const size_t a = first.m * first.k, b = first.k * first.n, c = first.m * first.n;
  s.ahead = V::kLanes > 1 && a <= kMost && b <= kMost && c <= kMost && first.a_col == 1 && first.b_col == 1 &&
            first.a_row == (ptrdiff_t)first.k && first.b_row == (ptrdiff_t)first.n &&
            first.c_row == (ptrdiff_t)first.n && !first.b_packed && !first.residual &&
            first.m >= 2 * V::kTileRows && s.count * (a + b + c) * sizeof(typename V::T) > kFromMemory;
  s.per_chunk = kChunkMacs / (macs + 1) + 1;
  run_chunks(s.count * macs > kSerialMacs, (s.count + s.per_chunk - 1) / s.per_chunk, Batched<V>::chunk, &s);
}
