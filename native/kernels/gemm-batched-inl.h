// Many products of one shape. Small ones are shared out whole, so many to a chunk that the cost of handing
// out work does not count; large ones run one after another, each cut by itself.

// From so many multiply-adds on, a product gives work to several threads by itself, unless the batch has
// kManyProducts of them.
constexpr size_t kLargeMacs = 1 << 22, kManyProducts = 64;

template <class V>
struct Batched {
  using T = typename V::T;
  const GemmArgs<T>* first;
  const GemmBatch* batch;
  size_t count, per_chunk;

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
      gemm_one<V>(g, parallel);
      for (int d = s.rank - 1; d >= 0; --d) {
        walk(g, d, 1);
        if (++at[d] < s.count[d]) break;
        walk(g, d, -(ptrdiff_t)at[d]);
        at[d] = 0;
      }
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
  Batched<V> s{&first, &batch, 1, 1};
  for (int d = 0; d < batch.rank; ++d) s.count *= batch.count[d];
  if (s.count == 0) return;
  const size_t macs = first.m * first.n * first.k;
  if (s.count == 1 || (macs >= kLargeMacs && s.count < kManyProducts)) return s.run(0, s.count, true);
  s.per_chunk = kChunkMacs / (macs + 1) + 1;
  run_chunks(s.count * macs > kSerialMacs, (s.count + s.per_chunk - 1) / s.per_chunk, Batched<V>::chunk, &s);
}
