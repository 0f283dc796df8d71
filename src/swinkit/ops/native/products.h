// Small matrix products in float32, a block of sums in registers at a time.
#pragma once

#include "vectors.h"

// A matrix: where it begins, and the step to its next row.
template <class T> struct Matrix {
    T* at;
    int64_t row;
};

// One that may be taken turned: the steps to its next row and to the next number of a row.
struct AnyMatrix {
    const float* at;
    int64_t row, column;
};

// out (rows, columns) = start + a (rows, depth) b (depth, columns).
struct Product {
    AnyMatrix a;
    Matrix<const float> b;
    int64_t depth, columns;     // columns: a multiple of V
    Matrix<const float> start;  // {} for zeros
    Matrix<float> out;
};

constexpr int64_t ROWS = V == 16 ? 7 : 6;  // rows of sums in registers

template <int rows, int vectors> inline void product_block(const Product& p, int64_t row, int64_t column) {
    Vec sums[rows][vectors];
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < vectors; ++c)
            sums[r][c] = p.start.at ? load(p.start.at + (row + r) * p.start.row + column + c * V) : Vec{};
    const float *a = p.a.at + row * p.a.row, *b = p.b.at + column;
    for (int64_t k = 0; k < p.depth; ++k, a += p.a.column, b += p.b.row) {
        Vec values[vectors];
        for (int c = 0; c < vectors; ++c) values[c] = load(b + c * V);
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < vectors; ++c) sums[r][c] += a[r * p.a.row] * values[c];
    }
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < vectors; ++c) store(p.out.at + (row + r) * p.out.row + column + c * V, sums[r][c]);
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
