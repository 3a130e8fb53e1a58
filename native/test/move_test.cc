// Transpositions and copies past the caches: every bit must arrive, and no byte elsewhere.
#include "harness.h"

namespace drivetrain::test {
namespace {

TEST(transpose_moves_every_bit) {
  Random random;
  for (size_t rows : {0, 1, 3, 4, 7, 31, 32, 33, 64, 70})
    for (size_t cols : {0, 1, 3, 4, 7, 31, 32, 33, 65})
      for (bool stream : {false, true})
        for (size_t gap : {0, 5}) {
          const size_t x_row = cols + gap, out_row = (rows + 15) / 16 * 16 + gap;
          Buffer<uint32_t> x(rows ? (rows - 1) * x_row + cols : 0),
              out(cols ? (cols - 1) * out_row + rows : 0, 7);
          for (size_t i = 0; i < x.size(); ++i) x[i] = uint32_t(random.bits());
          if (x.size()) x[0] = 0x7f800001;  // a signalling NaN
          k.transpose(reinterpret_cast<const float*>(x.data()), ptrdiff_t(x_row),
                      reinterpret_cast<float*>(out.data()), ptrdiff_t(out_row), rows, cols, stream);
          for (size_t i = 0; i < out.size(); ++i) {
            const size_t c = i / out_row, r = i % out_row;
            const uint32_t want = r < rows ? x[r * x_row + c] : 7;
            expect(out[i] == want, "transpose of %zu x %zu: [%zu, %zu] is %x, want %x", rows, cols, r, c,
                   out[i], want);
          }
        }
}

TEST(stream_copies_every_byte) {
  Random random;
  for (size_t n : {0, 1, 63, 64, 65, 127, 128, 200, 4096})
    for (size_t from = 0; from < 70; from += 7)
      for (size_t to = 0; to < 70; ++to) {
        Buffer<uint8_t> x(from + n), out(to + n + 3, 9);
        for (size_t i = 0; i < x.size(); ++i) x[i] = uint8_t(random.bits());
        k.stream(x.data() + from, out.data() + to, n);
        bool right = true;
        for (size_t i = 0; i < out.size(); ++i)
          right = right && out[i] == (i < to || i >= to + n ? 9 : x[from + i - to]);
        expect(right, "stream of %zu bytes from %zu to %zu", n, from, to);
      }
}

}  // namespace
}  // namespace drivetrain::test
