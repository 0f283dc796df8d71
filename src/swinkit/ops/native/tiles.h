// The matrix unit of some processors (AMX): whether it is there, how it is set up, attention on it.
#pragma once

#include "attention.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__linux__)
#define HAS_TILES 1
#else
#define HAS_TILES 0
#endif

#if HAS_TILES

constexpr int TILE = 16;  // rows of a tile, and numbers of float in a row
constexpr int WIDE = 32;  // numbers of bfloat16 in a row

// How eight tiles are set up, as the processor reads it: bytes of a row and rows of each.
struct alignas(64) Palette {
    uint8_t palette = 1, first = 0, none[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Sets tiles up for one thread. Other libraries remember how they did, so it leaves them as they were.
class TileSetup {
  public:
    TileSetup() {
        _tile_storeconfig(&before);
        Palette ours;
        _tile_loadconfig(&ours);
    }
    ~TileSetup() {
        if (before.palette)
            _tile_loadconfig(&before);
        else
            _tile_release();
    }

  private:
    Palette before;
};

#endif

// Whether the matrix unit is there and the system lets us use it.
bool has_tiles();

void attend_in_tiles(const Shape& shape, const bf16* qkv, const bf16* pad, const float* bias, const float* masks,
                     bf16* out, float scale);
