// How AMX's registers of tiles are used: all eight of 16 rows of 64 bytes. Constant, as compilers take
// ldtilecfg to read less than it does and leave out stores before it.
struct alignas(64) TileShape {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileShape kTileShape;
