// What the attention kernels share: where tokens are, the softmax, scratch memory.
#pragma once

#include <cstdlib>
#include <initializer_list>

#include "vectors.h"

constexpr float LOG2E = 1.44269504f;

// Maps and their windows, in tokens; s, s2 is the shift. structs.py has the same fields.
struct Shape {
    int64_t B, H, W, heads, d, M, M2, s, s2, type, threads;

    int64_t tokens() const { return M * M2; }
    int64_t down() const { return (H + M - 1) / M; }
    int64_t across() const { return (W + M2 - 1) / M2; }
    int64_t windows() const { return B * down() * across(); }
    int64_t channels() const { return heads * d; }
};

inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// A window of the batch: the raster number of each token, -1 for padding; and which mask it needs, 0 for none,
// 1 in the last column of windows, 2 in the last row, 3 in both.
inline int64_t find_window(const Shape& shape, int64_t number, int64_t* token) {
    int64_t across = shape.across(), down = shape.down();
    int64_t b = number / (down * across), y = number / across % down, x = number % across;
    for (int64_t i = 0; i < shape.M; ++i)
        for (int64_t j = 0; j < shape.M2; ++j) {
            int64_t r = (y * shape.M + i + shape.s) % (down * shape.M);
            int64_t c = (x * shape.M2 + j + shape.s2) % (across * shape.M2);
            *token++ = r < shape.H && c < shape.W ? (b * shape.H + r) * shape.W + c : -1;
        }
    return (shape.s && y == down - 1 ? 2 : 0) + (shape.s2 && x == across - 1 ? 1 : 0);
}

// exp2(factor * (score - largest)) of a row to `out`; returns their sum. `columns` is a multiple of V.
template <class T> inline float softmax_row(const float* scores, int64_t columns, float factor, T* out) {
    Vec top = load(scores);
    for (int64_t c = V; c < columns; c += V) top = larger(load(scores + c), top);
    Vec most = splat(largest(top)), total = {};  // taken away first: rounding a large product would show
    for (int64_t c = 0; c < columns; c += V) {
        Vec e = exp2_below_zero((load(scores + c) - most) * factor);
        total += e;
        store(out + c, e);
    }
    return sum(total);
}

// Memory of one thread, aligned for any vector, handed out piece by piece; each piece may take 63 bytes more.
class Scratch {
  public:
    explicit Scratch(size_t bytes) : start(static_cast<char*>(std::aligned_alloc(64, up(bytes, 64)))), at(start) {}
    ~Scratch() { std::free(start); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    template <class T> T* take(int64_t count) {
        T* out = reinterpret_cast<T*>(at);
        at += up(count * sizeof(T), 64);
        return out;
    }

  private:
    char *start, *at;
};
