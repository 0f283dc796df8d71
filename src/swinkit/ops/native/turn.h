// Turning a few rows of numbers into columns.
#pragma once

#include "vectors.h"

#if defined(__AVX512F__)

// 16 x 16 words, turned: out[c][r] = in[r][c]; rows of `to` are `stride` bytes apart.
inline void turn(const __m512i* in, void* to, int64_t stride) {
    char* out = static_cast<char*>(to);
    __m512i a[16], b[16];
    for (int i = 0; i < 8; ++i) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 2; ++j) {
            b[4 * i + 2 * j] = _mm512_unpacklo_epi64(a[4 * i + j], a[4 * i + 2 + j]);
            b[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a[4 * i + j], a[4 * i + 2 + j]);
        }
    for (int i = 0; i < 4; ++i) {
        a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        _mm512_storeu_si512(out + i * stride, _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88));
        _mm512_storeu_si512(out + (8 + i) * stride, _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd));
        _mm512_storeu_si512(out + (4 + i) * stride, _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88));
        _mm512_storeu_si512(out + (12 + i) * stride, _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd));
    }
}

#endif

// Rows x (rows, d), `step` apart, to columns out (d, columns); what is beyond `rows` stays.
inline void turn_rows(const float* x, int64_t step, int64_t rows, int64_t d, float* out, int64_t columns) {
    int64_t row = 0;
#if defined(__AVX512F__)
    for (; row + 16 <= rows; row += 16)
        for (int64_t c = 0; c < d; c += 16) {
            __m512i block[16];
            for (int r = 0; r < 16; ++r) block[r] = _mm512_loadu_si512(x + (row + r) * step + c);
            turn(block, out + c * columns + row, 4 * columns);
        }
#endif
    for (; row < rows; ++row)
        for (int64_t c = 0; c < d; ++c) out[c * columns + row] = x[row * step + c];
}
