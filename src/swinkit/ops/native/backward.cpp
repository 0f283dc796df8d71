// Gradients of window attention, in float32: weights are computed again from q and k, so that nothing but qkv
// is kept. With P the weights and G the output's gradient: dV = P^T G, dP = G V^T, dS = P (dP - sum(P dP)),
// dQ = scale dS K, dK = scale dS^T Q; the bias's gradient is the sum of dS over windows.
// Legend: as in attention.cpp.

#include <omp.h>

#include "attention.h"
#include "products.h"
#include "turn.h"

namespace {

// One window and head: inputs, and room for what comes out.
struct Head {
    float *q, *k, *v, *grad;   // (N, d); `grad` is the output's gradient
    float *kt, *vt;            // (d, columns)
    float *weights, *scores;   // (N, columns): P, then dS
    float *dq, *dk, *dv;       // (N, d)
};

void differentiate(const Head& head, const float* start, int64_t N, int64_t columns, int64_t d, float scale) {
    product({{head.q, d, 1}, {head.kt, columns}, d, columns, {start, columns}, {head.weights, columns}}, N);
    product({{head.grad, d, 1}, {head.vt, columns}, d, columns, {}, {head.scores, columns}}, N);
    for (int64_t i = 0; i < N; ++i) {
        float *p = head.weights + i * columns, *s = head.scores + i * columns;
        float factor = 1.0f / softmax_row(p, columns, scale * LOG2E, p);
        Vec total = {};
        for (int64_t c = 0; c < columns; c += V) {
            Vec weight = load(p + c) * factor;
            store(p + c, weight);
            total += weight * load(s + c);
        }
        float mean = sum(total);
        for (int64_t c = 0; c < columns; c += V) store(s + c, load(p + c) * (load(s + c) - mean));
    }
    product({{head.scores, columns, 1}, {head.k, d}, N, d, {}, {head.dq, d}}, N);
    product({{head.scores, 1, columns}, {head.q, d}, N, d, {}, {head.dk, d}}, N);  // turned
    product({{head.weights, 1, columns}, {head.grad, d}, N, d, {}, {head.dv, d}}, N);
}

void add(float* to, const float* from, int64_t count) {
    for (int64_t at = 0; at < count; at += V) store(to + at, load(to + at) + load(from + at));
}

template <class T>
void differentiate_all(const Shape& shape, const T* grad_out, const T* qkv, const T* pad, const float* bias,
                       const float* masks, T* grad_qkv, float* grad_bias, float* grad_pad, float scale) {
    int64_t N = shape.tokens(), d = up(shape.d, V), channels = shape.channels();
    int64_t columns = up(N, V), rows = up(N, 16), square = rows * columns;
#pragma omp parallel num_threads(shape.threads)
    {
        Scratch scratch(4 * (7 * N * d + 2 * d * columns + 3 * square + V) + 8 * N + 2048);
        auto take = [&](int64_t count) { return scratch.take<float>(count); };
        Head head{take(N * d), take(N * d), take(N * d), take(N * d), take(d * columns), take(d * columns),
                  take(square), take(square), take(N * d), take(N * d), take(N * d)};
        float* both = take(square);
        int64_t* token = scratch.take<int64_t>(N);
        for (float* part : {head.q, head.k, head.v, head.grad}) std::memset(part, 0, 4 * N * d);
        std::memset(head.kt, 0, 4 * d * columns);
        std::memset(head.vt, 0, 4 * d * columns);
        int64_t thread = omp_get_thread_num();  // a static schedule gives it the same windows every time
        float* pad_sum = grad_pad + thread * 3 * channels;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < shape.windows() * shape.heads; ++task) {
            int64_t h = task % shape.heads;
            int64_t masked = find_window(shape, task / shape.heads, token);
            for (int64_t i = 0; i < N; ++i) {
                const T* row = (token[i] < 0 ? pad : qkv + token[i] * 3 * channels) + h * shape.d;
                read_row(row, shape.d, head.q + i * d);
                read_row(row + channels, shape.d, head.k + i * d);
                read_row(row + 2 * channels, shape.d, head.v + i * d);
                if (token[i] < 0)
                    std::memset(head.grad + i * d, 0, 4 * d);
                else
                    read_row(grad_out + token[i] * channels + h * shape.d, shape.d, head.grad + i * d);
            }
            turn_rows(head.k, d, N, d, head.kt, columns);
            turn_rows(head.v, d, N, d, head.vt, columns);
            const float* start = bias + h * square;
            if (masked) {
                std::memcpy(both, start, 4 * square);
                add(both, masks + masked * square, square);
                start = both;
            }
            differentiate(head, start, N, columns, d, scale);
            if (grad_bias) add(grad_bias + (thread * shape.heads + h) * square, head.scores, N * columns);
            for (int64_t i = 0; i < N; ++i) {
                if (token[i] < 0) {
                    for (int64_t c = 0; c < shape.d; ++c) {
                        pad_sum[channels + h * shape.d + c] += head.dk[i * d + c] * scale;
                        pad_sum[2 * channels + h * shape.d + c] += head.dv[i * d + c];
                    }
                    continue;
                }
                T* row = grad_qkv + token[i] * 3 * channels + h * shape.d;
                write_row(head.dq + i * d, shape.d, scale, row);
                write_row(head.dk + i * d, shape.d, scale, row + channels);
                write_row(head.dv + i * d, shape.d, 1.0f, row + 2 * channels);
            }
        }
    }
}

}  // namespace

// Gradients of `attention`. Each thread adds to its own grad_bias (threads, heads, rows, columns), which may be
// null, and grad_pad (threads, 3, heads, d); both are zero before. Columns are those of FLOAT.
extern "C" void attention_backward(const Shape* maps, const void* grad_out, const void* qkv, const void* pad,
                                   const float* bias, const float* masks, void* grad_qkv, float* grad_bias,
                                   float* grad_pad, float scale) {
    const Shape& shape = *maps;
    if (shape.type == FLOAT)
        differentiate_all(shape, static_cast<const float*>(grad_out), static_cast<const float*>(qkv),
                          static_cast<const float*>(pad), bias, masks, static_cast<float*>(grad_qkv), grad_bias,
                          grad_pad, scale);
    else
        differentiate_all(shape, static_cast<const bf16*>(grad_out), static_cast<const bf16*>(qkv),
                          static_cast<const bf16*>(pad), bias, masks, static_cast<bf16*>(grad_qkv), grad_bias,
                          grad_pad, scale);
}
