// Moving values of four bytes.

void stream(const void* from, void* to, size_t bytes) {
  const char* x = (const char*)from;
  char* out = (char*)to;
  const size_t head = (size_t)(-(intptr_t)out & 63), whole = bytes < head ? 0 : (bytes - head) / 64 * 64;
  if (whole == 0) {
    memcpy(out, x, bytes);
    return;
  }
  memcpy(out, x, head);
  for (size_t i = head; i < head + whole; i += F::kLanes * sizeof(float)) {
    float values[F::kLanes];  // what is copied need not lie where floats do
    memcpy(values, x + i, sizeof values);
    stream((float*)(out + i), F::load(values));
  }
  stream_end();
  memcpy(out + head + whole, x + head + whole, bytes - head - whole);
}

// A block of kTile x kTile goes through a buffer, so that whole cache lines of out are written at once
// however far apart its rows are.
constexpr size_t kTile = 32, kTileRow = kTile + 16;

void transpose(const float* x, ptrdiff_t x_row, float* out, ptrdiff_t out_row, size_t rows, size_t cols,
               bool past_caches) {
  alignas(64) float block[kTile * kTileRow];
  const bool lines = past_caches && (intptr_t)out % 64 == 0 && out_row % 16 == 0;
  for (size_t top = 0; top < rows; top += kTile)
    for (size_t left = 0; left < cols; left += kTile) {
      const size_t height = rows - top < kTile ? rows - top : kTile,
                   width = cols - left < kTile ? cols - left : kTile;
      const float* from = x + (ptrdiff_t)top * x_row + left;
      float* to = out + (ptrdiff_t)left * out_row + top;
      for (size_t r = 0; r < height; r += 4)
        for (size_t c = 0; c < width; c += 4) {
          if (r + 4 <= height && c + 4 <= width) {
            transpose4(from + (ptrdiff_t)r * x_row + c, x_row, block + c * kTileRow + r, kTileRow);
            continue;
          }
          for (size_t i = r; i < r + 4 && i < height; ++i)
            for (size_t j = c; j < c + 4 && j < width; ++j)
              block[j * kTileRow + i] = from[(ptrdiff_t)i * x_row + j];
        }
      for (size_t c = 0; c < width; ++c) {
        const float* row = block + c * kTileRow;
        float* to_row = to + (ptrdiff_t)c * out_row;
        if (height < kTile) {
          memcpy(to_row, row, height * sizeof(float));
          continue;
        }
        if (lines) {
          for (size_t i = 0; i < kTile; i += F::kLanes) stream(to_row + i, F::load(row + i));
          continue;
        }
        // Lines of the next block, far apart, are not what the processor fetches ahead by itself.
        const float* next = to_row + (ptrdiff_t)kTile * out_row;
        for (size_t i = 0; i < kTile; i += 16) __builtin_prefetch(next + i, 1);
        for (size_t i = 0; i < kTile; i += F::kLanes) store(to_row + i, F::load(row + i));
      }
    }
  if (lines) stream_end();
}
