// Window attention, forward, in float32: one window and head at a time, a few queries of it at a time.
//
// Bias and masks come divided by the softmax scale, so that scores begin as them and the scale goes into the
// exponent. Legend: N tokens a window; d channels a head, rounded up; columns, rows: N rounded up.

#include "attention.h"
#include "products.h"
#include "tiles.h"
#include "turn.h"

namespace {

template <class T>
void attend_in_float(const Shape& shape, const T* qkv, const T* pad, const float* bias, const float* masks,
                     T* out, float scale) {
    int64_t N = shape.tokens(), d = up(shape.d, V), channels = shape.channels();
    int64_t columns = up(N, V), rows = up(N, 16);
#pragma omp parallel num_threads(shape.threads)
    {
        Scratch scratch(4 * (3 * N * d + d * columns + ROWS * (columns + d) + rows * columns) + 8 * N + 512);
        float *q = scratch.take<float>(N * d), *k = scratch.take<float>(N * d), *kt = scratch.take<float>(d * columns);
        float *v = scratch.take<float>(N * d), *scores = scratch.take<float>(ROWS * columns);
        float *some = scratch.take<float>(ROWS * d), *both = scratch.take<float>(rows * columns);  // bias and mask
        int64_t* token = scratch.take<int64_t>(N);
        for (float* part : {q, k, v}) std::memset(part, 0, 4 * N * d);
        std::memset(kt, 0, 4 * d * columns);
#pragma omp for schedule(static)
        for (int64_t window = 0; window < shape.windows(); ++window) {
            int64_t masked = find_window(shape, window, token);
            for (int64_t h = 0; h < shape.heads; ++h) {
                for (int64_t i = 0; i < N; ++i) {
                    const T* row = (token[i] < 0 ? pad : qkv + token[i] * 3 * channels) + h * shape.d;
                    read_row(row, shape.d, q + i * d);
                    read_row(row + channels, shape.d, k + i * d);
                    read_row(row + 2 * channels, shape.d, v + i * d);
                }
                turn_rows(k, d, N, d, kt, columns);
                const float* start = bias + h * rows * columns;
                if (masked) {
                    const float* mask = masks + masked * rows * columns;
                    for (int64_t at = 0; at < rows * columns; at += V)
                        store(both + at, load(start + at) + load(mask + at));
                    start = both;
                }
                for (int64_t i = 0; i < N; i += ROWS) {
                    int64_t count = i + ROWS <= N ? ROWS : N - i;
                    Matrix<const float> begin{start + i * columns, columns};
                    product({{q + i * d, d, 1}, {kt, columns}, d, columns, begin, {scores, columns}}, count);
                    float factor[ROWS];  // one over the sum of a row's weights
                    for (int64_t r = 0; r < count; ++r) {
                        float* row = scores + r * columns;
                        factor[r] = 1.0f / softmax_row(row, columns, scale * LOG2E, row);
                    }
                    product({{scores, columns, 1}, {v, d}, N, d, {}, {some, d}}, count);
                    for (int64_t r = 0; r < count; ++r) {
                        if (token[i + r] < 0) continue;
                        write_row(some + r * d, shape.d, factor[r], out + token[i + r] * channels + h * shape.d);
                    }
                }
            }
        }
    }
}

}  // namespace

extern "C" {

// Columns of bias and masks, (heads or 4, rows, columns); rows are N rounded up to 16.
int64_t attention_columns(int64_t tokens, int64_t type) {
    return type == BFLOAT16 && has_tiles() ? up(tokens, 32) : up(tokens, V);
}

int64_t has_matrix_unit() { return has_tiles(); }

// Bias table ((2M-1)(2M'-1), heads), times `factor`, as (heads, rows, columns), `beyond` in columns from N on.
void expand_bias(const float* table, int64_t heads, int64_t M, int64_t M2, float factor, float beyond,
                 int64_t columns, float* out) {
    int64_t N = M * M2, rows = up(N, 16), pairs = (2 * M - 1) * (2 * M2 - 1);
    Scratch scratch(4 * (pairs + V) + 64);
    float* turned = scratch.take<float>(pairs + V);  // of one head, last first: neighbouring keys are neighbours
    for (int64_t h = 0; h < heads; ++h) {
        for (int64_t pair = 0; pair < pairs; ++pair) turned[pair] = table[(pairs - 1 - pair) * heads + h] * factor;
        for (int64_t i = 0; i < rows; ++i, out += columns) {
            int64_t at = 0;
            for (int64_t r = 0; r < M && i < N; ++r, at += M2) {
                const float* from = turned + pairs - 1 - (i / M2 - r + M - 1) * (2 * M2 - 1) - (i % M2 + M2 - 1);
                if (at + up(M2, V) <= columns)  // what is too much the next row of keys writes over
                    for (int64_t c = 0; c < M2; c += V) store(out + at + c, load(from + c));
                else
                    for (int64_t c = 0; c < M2; ++c) out[at + c] = from[c];
            }
            for (; at < N; ++at) out[at] = 0;
            for (; at < columns; ++at) out[at] = beyond;
        }
    }
}

// Maps (B, H, W, 3, heads, d) to (B, H, W, heads * d); pad (3, heads, d); bias, masks: see attention_columns.
void attention(const Shape* maps, const void* qkv, const void* pad, const float* bias, const float* masks, void* out,
               float scale) {
    const Shape& shape = *maps;
    if (shape.type == FLOAT)
        attend_in_float(shape, static_cast<const float*>(qkv), static_cast<const float*>(pad), bias, masks,
                        static_cast<float*>(out), scale);
    else if (has_tiles())
        attend_in_tiles(shape, static_cast<const bf16*>(qkv), static_cast<const bf16*>(pad), bias, masks,
                        static_cast<bf16*>(out), scale);
    else
        attend_in_float(shape, static_cast<const bf16*>(qkv), static_cast<const bf16*>(pad), bias, masks,
                        static_cast<bf16*>(out), scale);
}
}
