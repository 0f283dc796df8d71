// Linear layers in bfloat16 on the matrix unit, with what stands before and behind them: layer norm of the
// rows, GELU, the residual sum. Numbers between them never leave the caches.
//
// Weights come packed: for each 16 outputs, for each 32 inputs, one tile (pair of inputs, output, 2).

#include <algorithm>

#include "rows.h"
#include "tiles.h"

#if TILES

namespace {

constexpr int64_t BLOCK = 32;      // rows and columns of four tiles of sums
constexpr int64_t HELD = 1 << 19;  // bytes of rows that are multiplied together, so that they stay in the cache

struct Layer {
    int64_t rows, in, out, norm, gelu, threads;  // norm, gelu: whether
};

// 32 rows of A (stride in) times 32 columns of W to sums (32, 32).
void multiply(const bf16* a, const bf16* w, int64_t in, float* sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const bf16* second = w + 16 * in;
    for (int64_t k = 0; k < in; k += 32) {
        _tile_loadd(4, a + k, 2 * in);
        _tile_loadd(6, w + 16 * k, 64);
        _tile_loadd(7, second + 16 * k, 64);
        _tile_loadd(5, a + 16 * in + k, 2 * in);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 4 * BLOCK);
    _tile_stored(1, sums + 16, 4 * BLOCK);
    _tile_stored(2, sums + 16 * BLOCK, 4 * BLOCK);
    _tile_stored(3, sums + 16 * BLOCK + 16, 4 * BLOCK);
}

}  // namespace

extern "C" void linear(const int64_t* numbers, const bf16* x, const bf16* weight, const float* bias,
                       const bf16* residual, bf16* out, float eps) {
    Layer layer;
    std::memcpy(&layer, numbers, sizeof layer);
    int64_t chunk = std::max(BLOCK, std::min(up(layer.rows, BLOCK), HELD / (2 * layer.in) / BLOCK * BLOCK));
    int64_t chunks = (layer.rows + chunk - 1) / chunk;
    int64_t blocks = (layer.out + BLOCK - 1) / BLOCK;
    int64_t groups = std::min(blocks, std::max<int64_t>(1, layer.threads / chunks));
#pragma omp parallel num_threads(layer.threads)
    {
        Tiles tiles;
        Scratch scratch(layer.norm * 2 * chunk * layer.in + 4 * BLOCK * BLOCK + 256);
        bf16* held = scratch.take<bf16>(layer.norm * chunk * layer.in);
        float* sums = scratch.take<float>(BLOCK * BLOCK);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < chunks * groups; ++task) {
            int64_t first = task / groups * chunk, group = task % groups;
            int64_t rows = std::min(chunk, layer.rows - first);
            const bf16* a = x + first * layer.in;
            if (layer.norm) {
                for (int64_t row = 0; row < rows; ++row)
                    norm_row(a + row * layer.in, layer.in, eps, held + row * layer.in);
                a = held;
            }
            for (int64_t block = blocks * group / groups; block < blocks * (group + 1) / groups; ++block) {
                int64_t column = block * BLOCK;
                for (int64_t row = 0; row < rows; row += BLOCK) {
                    multiply(a + row * layer.in, weight + column * layer.in, layer.in, sums);
                    for (int64_t r = 0; r < BLOCK && row + r < rows; ++r) {
                        int64_t at = (first + row + r) * layer.out + column;
                        for (int64_t c = 0; c < BLOCK && column + c < layer.out; c += V) {
                            Vec value = load(sums + r * BLOCK + c) + load(bias + column + c);
                            if (layer.gelu) value = gelu(value);
                            if (residual) value += load(residual + at + c);
                            store(out + at + c, value);
                        }
                    }
                }
            }
        }
    }
}

#else

extern "C" void linear(const int64_t*, const bf16*, const bf16*, const float*, const bf16*, bf16*, float) {}

#endif
