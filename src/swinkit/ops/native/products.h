// Small matrix products in float32, a block of sums in registers at a time.
#pragma once

#include "vectors.h"

// Where the numbers of a product are: out (rows, columns) = start + A (rows, depth) B (depth, columns).
// A's steps are free, so that it may be taken turned; B and out have their rows one after the other.
struct Product {
    const float* a;
    int64_t down, across;  // steps of A to the next row, to the next of depth
    const float* b;
    int64_t b_row;
    int64_t depth, columns;  // columns: a multiple of V
    const float* start;      // (rows, columns) like out, or null for zeros
    int64_t start_row;
    float* out;
    int64_t out_row;
};

constexpr int64_t ROWS = V == 16 ? 7 : 6;  // rows of sums in registers

template <int rows, int vectors> inline void product_block(const Product& p, int64_t row, int64_t column) {
    Vec sums[rows][vectors];
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < vectors; ++c)
            sums[r][c] = p.start ? load(p.start + (row + r) * p.start_row + column + c * V) : Vec{};
    const float *a = p.a + row * p.down, *b = p.b + column;
    for (int64_t k = 0; k < p.depth; ++k, a += p.across, b += p.b_row) {
        Vec values[vectors];
        for (int c = 0; c < vectors; ++c) values[c] = load(b + c * V);
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < vectors; ++c) sums[r][c] += a[r * p.down] * values[c];
    }
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < vectors; ++c) store(p.out + (row + r) * p.out_row + column + c * V, sums[r][c]);
}

template <int rows> inline void product_rows(const Product& p, int64_t row) {
    constexpr int wide = V == 16 ? 4 : 2;
    int64_t column = 0;
    for (; column + wide * V <= p.columns; column += wide * V) product_block<rows, wide>(p, row, column);
    for (; column + 2 * V <= p.columns; column += 2 * V) product_block<rows, 2>(p, row, column);
    for (; column < p.columns; column += V) product_block<rows, 1>(p, row, column);
}

inline void product(const Product& p, int64_t rows) {
    int64_t row = 0;
    for (; row + ROWS <= rows; row += ROWS) product_rows<ROWS>(p, row);
    switch (rows - row) {
        case 1: return product_rows<1>(p, row);
        case 2: return product_rows<2>(p, row);
        case 3: return product_rows<3>(p, row);
        case 4: return product_rows<4>(p, row);
        case 5: return product_rows<5>(p, row);
        case 6: return product_rows<6>(p, row);
    }
}
