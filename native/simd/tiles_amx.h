// AMX, beside dot4_avx512_vnni.h and tile_shape_amx.h: registers of 16 rows of 64 bytes, of which one
// instruction multiplies two, u8 by s8, adding four products into each of 16 by 16 s32; it wraps, and does
// not saturate. The three operands of a product are C (16 rows of 16 sums), A (16 rows of 64 values along k)
// and B (16 words along k, each of 16 columns), and the packed forms of A and B are both read as they are.
struct Dot4Tiles : Dot4 {
  static constexpr size_t kRows = 32;    // of a product of registers, two by two
  static constexpr size_t kFewRows = 4;  // up to which vectors are as fast
  static constexpr size_t kRegisterRows = 16;
  static constexpr size_t kLineWords = 16;                   // along k, of one product
  static constexpr size_t kLineBytes = kLineWords * 2 * 64;  // of a panel of B, 32 columns wide

  // While it lives, the thread's registers have their shape, where panels of so many rows take them. Left in
  // use they would be saved with every switch of threads.
  struct Use {
    const bool uses;
    explicit Use(size_t rows) : uses(rows > kFewRows) {
      if (uses) _tile_loadconfig(&kTileShape);
    }
    ~Use() {
      if (uses) _tile_release();
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
  };

  template <bool kHigh>
  static DT_INLINE void step(const uint8_t* a, const int8_t* b) {
    constexpr int kB = 128;  // bytes from a word of B's panel to the next
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, kB);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, b + 64, kB);
    _tile_dpbusd(1, 4, 7);
    if constexpr (kHigh) {
      _tile_loadd(5, a + kRegisterRows * 64, 64);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }

  // sums = start + the products of a packed panel of A, whose `rows` lines of one place along k are side by
  // side, and one of B. What is left of `words` after whole lines is in `tail`. Rows beyond the panel's are
  // sums of whatever is there.
  template <bool kHigh>
  static void multiply(size_t words, const uint8_t* a, size_t rows, const int8_t* b, const int8_t* tail,
                       const int32_t* start, size_t start_row, int32_t* sums) {
    constexpr int kSumsRow = 32 * sizeof(int32_t);
    const size_t from_row = start_row * sizeof(int32_t);
    asm volatile("" ::: "memory");  // GCC takes the loads of tiles to read no memory
    _tile_loadd(0, start, from_row);
    _tile_loadd(1, start + 16, from_row);
    if constexpr (kHigh) {
      _tile_loadd(2, start + kRegisterRows * start_row, from_row);
      _tile_loadd(3, start + kRegisterRows * start_row + 16, from_row);
    }
    for (size_t line = words / kLineWords; line > 0; --line, a += rows * 64, b += kLineBytes)
      step<kHigh>(a, b);
    if (words % kLineWords) step<kHigh>(a, tail);
    _tile_stored(0, sums, kSumsRow);
    _tile_stored(1, sums + 16, kSumsRow);
    if constexpr (kHigh) {
      _tile_stored(2, sums + kRegisterRows * 32, kSumsRow);
      _tile_stored(3, sums + kRegisterRows * 32 + 16, kSumsRow);
    }
  }
};
