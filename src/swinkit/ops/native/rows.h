// Layer norm of one row, GELU of one vector.
#pragma once

#include <cmath>

#include "vectors.h"

// (x - mean) / sqrt(variance + eps) of n numbers.
template <class T> inline void norm_row(const T* x, int64_t n, float eps, T* out) {
    Vec total = {}, square = {};
    int64_t whole = n / V * V;
    float rest = 0, rest_square = 0;
    for (int64_t c = 0; c < whole; c += V) total += load(x + c);
    for (int64_t c = whole; c < n; ++c) rest += one(x[c]);
    float mean = (sum(total) + rest) / n;
    for (int64_t c = 0; c < whole; c += V) {
        Vec centred = load(x + c) - mean;
        square += centred * centred;
    }
    for (int64_t c = whole; c < n; ++c) rest_square += (one(x[c]) - mean) * (one(x[c]) - mean);
    float factor = 1.0f / std::sqrt((sum(square) + rest_square) / n + eps);
    for (int64_t c = 0; c < whole; c += V) store(out + c, (load(x + c) - mean) * factor);
    for (int64_t c = whole; c < n; ++c) put(out + c, (one(x[c]) - mean) * factor);
}

// GELU as a polynomial, see swinkit/deploy/gelu.py: within 1.5e-6.
inline Vec gelu(Vec x) {
    const float edge = 5.25f;
    Vec t = x < -edge ? splat(-edge) : x;
    t = t > edge ? splat(edge) : t;
    Vec u = t * t * (2.0f / (edge * edge)) - 1.0f;
    constexpr float coefficients[] = {9.72590733e-4f,  -2.81916791e-3f, 3.11432772e-3f,  -3.62805352e-3f,
                                      7.88571016e-3f,  -1.36484896e-2f, 1.88373607e-2f,  -2.48442539e-2f,
                                      3.19664058e-2f,  -3.9781862e-2f,  4.96505838e-2f,  -6.71263488e-2f,
                                      1.34659292e-1f};
    Vec q = splat(coefficients[0]);
    for (int i = 1; i < 13; ++i) q = q * u + coefficients[i];
    return x * (t * q + 0.5f);
}
