// What stands between the matrix products of a block: layer norm without scale and shift, GELU.
#pragma once

#include <cmath>

#include "vectors.h"

// (x - mean) / sqrt(variance + eps) of `rows` rows of n numbers, a multiple of V, side by side. The variance comes
// from the sum of squares, which in float is exact enough for numbers that bfloat16 holds.
template <int rows> inline void norm_some(const bf16* x, int64_t n, float eps, bf16* out) {
    Vec total[rows] = {}, square[rows] = {};
    for (int64_t c = 0; c < n; c += V)
        for (int r = 0; r < rows; ++r) {
            Vec value = load(x + r * n + c);
            total[r] += value;
            square[r] += value * value;
        }
    Vec factor[rows], shift[rows];
    for (int r = 0; r < rows; ++r) {
        float mean = sum(total[r]) / n, variance = sum(square[r]) / n - mean * mean;
        float scale = 1.0f / std::sqrt((variance < 0 ? 0 : variance) + eps);
        factor[r] = splat(scale);
        shift[r] = splat(-mean * scale);
    }
    for (int64_t c = 0; c < n; c += V)
        for (int r = 0; r < rows; ++r) store(out + r * n + c, load(x + r * n + c) * factor[r] + shift[r]);
}

inline void norm_rows(const bf16* x, int64_t rows, int64_t n, float eps, bf16* out) {
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) norm_some<4>(x + row * n, n, eps, out + row * n);
    for (; row < rows; ++row) norm_some<1>(x + row * n, n, eps, out + row * n);
}

// GELU to 2e-4, less than bfloat16 rounds: x (1/2 + t Q(t^2)), t being x between -4 and 4, see deploy/gelu.py.
inline Vec rough_gelu(Vec x) {
    Vec t = x < -4.0f ? splat(-4.0f) : x;
    t = t > 4.0f ? splat(4.0f) : t;
    Vec u = t * t * 0.125f - 1.0f;
    Vec q = splat(0.00597186067f);
    q = q * u - 0.0165508458f;
    q = q * u + 0.0240912452f;
    q = q * u - 0.0354623854f;
    q = q * u + 0.0554101412f;
    q = q * u - 0.0844266124f;
    q = q * u + 0.175970218f;
    return x * (t * q + 0.5f);
}
