// Products of f16 and bf16 matrices, in f32. C is cut into blocks; for one part of k after another the values
// of A and B that a block needs are widened, which is exact, into scratch that stays in L2, and go through
// the f32 product. Sums stay in f32 until all of k is added, then they are rounded once.

DT_INLINE void widen(Element from, const uint16_t* x, float* out, size_t n) {
  from == Element::kF16 ? f16_to_f32(x, out, n) : bf16_to_f32(x, out, n);
}

struct HalfGemm {
  const HalfGemmArgs* args;
  const GemmBatch* batch;
  size_t rows, cols, depth;  // of a block
  // Blocks beside one another, of a product, and of all.
  size_t across, blocks, count;

  // A block's values of A and of B, a quarter of a megabyte each, stay in L2. Where few rows meet B, each of
  // its values is used a few times only: then they stay in L1, in lines that are as long as may be.
  static constexpr size_t kRows = 240, kCols = 256, kDepth = 256, kFewRows = 16, kThinDepth = 1024,
                          kThinValues = 1 << 12;
  static constexpr int kSlot = 3;  // of scratch; the f32 product uses the lower ones

  explicit HalfGemm(const HalfGemmArgs& g, const GemmBatch& dims) : args(&g), batch(&dims) {
    const GemmArgs<float>& s = g.shape;
    const bool thin = s.m <= kFewRows;
    depth = even_part(s.k ? s.k : 1, thin ? kThinDepth : kDepth, 16);
    rows = even_part(s.m, kRows, F::kTileRows);
    cols = even_part(s.n, thin ? kThinValues / depth : kCols, thin ? 4 : F::kTileVecs * F::kLanes);
    while (blocks_of() < kChunks && rows * cols * s.k > kChunkMacs)
      if (rows > cols && rows > 2 * F::kTileRows)
        rows = round_up(rows / 2, F::kTileRows);
      else if (cols > F::kTileVecs * F::kLanes)
        cols = round_up(cols / 2, F::kTileVecs * F::kLanes);
      else
        break;
    across = (s.n + cols - 1) / cols;
    blocks = blocks_of();
    count = blocks;
    for (int d = 0; d < dims.rank; ++d) count *= dims.count[d];
  }
  size_t blocks_of() const { return (args->shape.m + rows - 1) / rows * ((args->shape.n + cols - 1) / cols); }

  // A rows x cols part of a matrix whose first value is at `offset`, as f32: where it is, or widened into
  // `copy`, in the same order, in lines a little apart.
  static const float* part_of(const void* data, Element type, ptrdiff_t offset, ptrdiff_t& row,
                              ptrdiff_t& col, size_t rows, size_t cols, float* copy) {
    if (type == Element::kF32) return (const float*)data + offset;
    const uint16_t* x = (const uint16_t*)data + offset;
    const bool by_row = row != 1 || (col == 1 && cols >= rows);
    const size_t lines = by_row ? rows : cols, length = by_row ? cols : rows;
    const ptrdiff_t line = by_row ? row : col, step = by_row ? col : row;
    const size_t apart = line_of(length);
    for (size_t i = 0; i < lines; ++i, x += line) {
      float* out = copy + i * apart;
      if (step == 1) {
        widen(type, x, out, length);
      } else {
        uint16_t gathered[64];
        for (size_t p = 0; p < length; p += 64) {
          const size_t some = smaller(64, length - p);
          for (size_t q = 0; q < some; ++q) gathered[q] = x[(ptrdiff_t)(p + q) * step];
          widen(type, gathered, out + p, some);
        }
      }
    }
    (by_row ? row : col) = (ptrdiff_t)apart, (by_row ? col : row) = 1;
    return copy;
  }
  // Not a power of two, or lines compete for the same place in the caches.
  static size_t line_of(size_t length) { return round_up(length, 16) + 16; }
  static size_t copy_size(size_t rows, size_t cols) {
    const size_t by_row = rows * line_of(cols), by_column = cols * line_of(rows);
    return by_row > by_column ? by_row : by_column;
  }

  void block(size_t index) const {
    GemmArgs<float> g = args->shape;
    ptrdiff_t a_at = 0, b_at = 0, c_at = 0, residual_at = 0;
    size_t rest = index / blocks;
    for (int d = batch->rank - 1; d >= 0; --d) {
      const auto at = (ptrdiff_t)(rest % batch->count[d]);
      rest /= batch->count[d];
      a_at += at * batch->a_step[d], b_at += at * batch->b_step[d];
      c_at += at * batch->c_step[d], residual_at += at * batch->residual_step[d];
    }
    const size_t i0 = index % blocks / across * rows, j0 = index % blocks % across * cols;
    g.m = smaller(rows, g.m - i0), g.n = smaller(cols, g.n - j0);
    a_at += (ptrdiff_t)i0 * g.a_row, b_at += (ptrdiff_t)j0 * g.b_col;
    c_at += (ptrdiff_t)i0 * g.c_row + (ptrdiff_t)j0;
    if (g.residual) g.residual += residual_at + (ptrdiff_t)i0 * g.residual_row + (ptrdiff_t)j0;

    const bool narrow = args->c_type != Element::kF32;
    float* const a_copy = (float*)scratch(
        kSlot, (copy_size(rows, depth) + copy_size(depth, cols) + rows * cols + cols) * sizeof(float));
    float* const b_copy = a_copy + copy_size(rows, depth);
    float* const c_copy = b_copy + copy_size(depth, cols);
    float* const bias_copy = c_copy + rows * cols;
    const ptrdiff_t c_row = g.c_row;
    uint16_t* out = narrow ? (uint16_t*)args->c + c_at : nullptr;
    if (narrow)
      g.c = c_copy, g.c_row = (ptrdiff_t)g.n;
    else
      g.c = (float*)args->c + c_at;
    if (narrow && g.beta != 0)
      for (size_t i = 0; i < g.m; ++i) widen(args->c_type, out + (ptrdiff_t)i * c_row, g.c + i * g.n, g.n);
    if (args->bias) {
      ptrdiff_t row = 0, col = 1;
      g.bias = part_of(args->bias, args->bias_type, (ptrdiff_t)j0, row, col, 1, g.n, bias_copy);
    }

    size_t k0 = 0;
    do {
      GemmArgs<float> part = g;
      part.k = smaller(depth, g.k - k0);
      part.a = part_of(args->a, args->a_type, a_at + (ptrdiff_t)k0 * g.a_col, part.a_row, part.a_col, g.m,
                       part.k, a_copy);
      part.b = part_of(args->b, args->b_type, b_at + (ptrdiff_t)k0 * g.b_row, part.b_row, part.b_col, part.k,
                       g.n, b_copy);
      if (k0 > 0) part.beta = 1;
      k0 += part.k;
      if (k0 < g.k) part.bias = part.residual = nullptr, part.activation = Activation::kNone;
      gemm_one<F>(part, false);
    } while (k0 < g.k);

    if (!narrow) return;
    for (size_t i = 0; i < g.m; ++i, out += c_row) {
      const float* sums = c_copy + i * g.n;
      args->c_type == Element::kF16 ? f32_to_f16(sums, out, g.n) : f32_to_bf16(sums, out, g.n);
    }
  }
  static void chunk(void* context, size_t index) { ((const HalfGemm*)context)->block(index); }
};

void gemm_half(const HalfGemmArgs& args, const GemmBatch& batch) {
  const GemmArgs<float>& s = args.shape;
  if (s.m == 0 || s.n == 0) return;
  HalfGemm h(args, batch);
  run_chunks(s.m * s.n * s.k * (h.count / h.blocks) > kSerialMacs, h.count, HalfGemm::chunk, &h);
}
