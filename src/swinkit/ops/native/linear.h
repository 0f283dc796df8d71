// Linear layers in bfloat16 on the matrix unit. They do what stands before and behind them as well: layer norm of
// the rows, GELU, the residual sum, so that it happens in the cache.
//
// Weights come packed: for each 16 outputs, for each 32 inputs, one tile (pair of inputs, output, 2).
// Norm scale and shift are in the weights.
#pragma once

#include <algorithm>

#include "rows.h"
#include "tiles.h"

#if HAS_TILES

constexpr int64_t BLOCK = 32;      // rows and columns of four tiles of sums
constexpr int64_t HELD = 1 << 19;  // bytes of normed rows that are multiplied together, so that they stay in the cache

struct Weights {
    const bf16* weight;
    const float* bias;
};

struct Layer {
    Weights weights;
    int64_t in, out, threads;
    bool norm = false, gelu = false;
    float eps = 0;  // of the norm
};

inline Layer after_norm(Layer layer, float eps) {
    layer.norm = true;
    layer.eps = eps;
    return layer;
}

inline Layer before_gelu(Layer layer) {
    layer.gelu = true;
    return layer;
}

// 32 rows of A (stride in) times 32 columns of W to sums (32, 32); `ahead` asks for the 32 columns that come next.
template <bool ahead> void multiply(const bf16* a, const bf16* w, int64_t in, float* sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const bf16* second = w + TILE * in;
    for (int64_t k = 0; k < in; k += WIDE) {
        _tile_loadd(4, a + k, 2 * in);
        _tile_loadd(6, w + TILE * k, 64);
        _tile_loadd(7, second + TILE * k, 64);
        _tile_loadd(5, a + TILE * in + k, 2 * in);
        if (ahead)
            for (int64_t line = 0; line < WIDE * TILE; line += WIDE) {
                _mm_prefetch(w + BLOCK * in + TILE * k + line, _MM_HINT_T1);
                _mm_prefetch(second + BLOCK * in + TILE * k + line, _MM_HINT_T1);
            }
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 4 * BLOCK);
    _tile_stored(1, sums + TILE, 4 * BLOCK);
    _tile_stored(2, sums + TILE * BLOCK, 4 * BLOCK);
    _tile_stored(3, sums + TILE * BLOCK + TILE, 4 * BLOCK);
}

// Sums (rows, 32) and the bias [through GELU] [and the residual] to out, whose rows are `stride` apart.
template <bool gelu, bool add>
inline void finish(const float* sums, const float* bias, int64_t rows, int64_t stride, const bf16* residual,
                   bf16* out) {
    for (int64_t c = 0; c < BLOCK; c += V) {
        Vec shift = load(bias + c);
        for (int64_t r = 0; r < rows; ++r) {
            Vec value = load(sums + r * BLOCK + c) + shift;
            if (gelu) value = rough_gelu(value);
            if (add) value += load(residual + r * stride + c);
            store(out + r * stride + c, value);
        }
    }
}

// x (rows, in) to out (rows, out); residual may be null or out. Up to BLOCK rows behind x's are read where there is
// no norm. A task is a chunk of rows; where there are fewer chunks than threads, some of its columns.
inline void linear(const Layer& layer, const bf16* x, int64_t rows, const bf16* residual, bf16* out) {
    int64_t in = layer.in, chunk = std::max(BLOCK, std::min(up(rows, BLOCK), HELD / (2 * in) / BLOCK * BLOCK));
    int64_t chunks = (rows + chunk - 1) / chunk, blocks = layer.out / BLOCK;
    int64_t groups = std::min(blocks, std::max<int64_t>(1, layer.threads / std::max<int64_t>(1, chunks)));
#pragma omp parallel num_threads(layer.threads)
    {
        TileSetup setup;
        Scratch scratch(layer.norm * 2 * chunk * in + 4 * BLOCK * BLOCK + 256);
        bf16* held = scratch.take<bf16>(layer.norm * chunk * in);
        float* sums = scratch.take<float>(BLOCK * BLOCK);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < chunks * groups; ++task) {
            int64_t first = task / groups * chunk, group = task % groups;
            int64_t count = std::min(chunk, rows - first);
            const bf16* a = x + first * in;
            if (layer.norm) {
                norm_rows(a, count, in, layer.eps, held);
                a = held;
            }
            for (int64_t block = blocks * group / groups; block < blocks * (group + 1) / groups; ++block) {
                int64_t column = block * BLOCK;
                for (int64_t row = 0; row < count; row += BLOCK) {
                    if (row == 0)
                        multiply<true>(a, layer.weights.weight + column * in, in, sums);
                    else
                        multiply<false>(a + row * in, layer.weights.weight + column * in, in, sums);
                    int64_t at = (first + row) * layer.out + column, some = std::min(BLOCK, count - row);
                    const float* bias = layer.weights.bias + column;
                    if (layer.gelu)
                        finish<true, false>(sums, bias, some, layer.out, nullptr, out + at);
                    else if (residual)
                        finish<false, true>(sums, bias, some, layer.out, residual + at, out + at);
                    else
                        finish<false, false>(sums, bias, some, layer.out, nullptr, out + at);
                }
            }
        }
    }
}

#endif
