// Attention by the matrix unit of some processors (AMX), and the softmax both ways share.
#pragma once

#include "attention.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__linux__)
#define TILES 1
#else
#define TILES 0
#endif

#if TILES

constexpr int TILE = 16;

struct alignas(64) Palette {
    uint8_t palette = 1, first = 0, none[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Other libraries remember how they set up tiles, so we leave them as they were.
class Tiles {
  public:
    Tiles() {
        _tile_storeconfig(&before);
        Palette ours;
        _tile_loadconfig(&ours);
    }
    ~Tiles() {
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
