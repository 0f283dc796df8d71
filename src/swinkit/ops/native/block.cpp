// A Swin block, patch merging and patch embedding in bfloat16 on the matrix unit.

#include "linear.h"

#if HAS_TILES

namespace {

// 64-bit integers and pointers: structs.py has the same fields.
struct Block {
    Shape shape;
    int64_t hidden, pictures, rows;  // pictures of attention, and rows of the MLP, at a time
    Weights qkv, proj, fc1, fc2;
    const float *bias, *masks;
    const bf16* pad;
    bf16 *x, *wide, *narrow;  // x (B, H, W, C) in and out; room for 3 C or `hidden` numbers a row, and for C
};

struct Merging {
    int64_t B, H, W, C, threads;
    Weights reduction;
    const bf16* x;
    bf16 *four, *out;  // room for 4 C numbers a row; (B, H / 2, W / 2, 2 C)
};

struct Embedding {
    int64_t B, in_chans, H, W, down, across, C, threads;  // pixels of a picture; of a patch; channels of a token
    Weights proj;                                   // in_chans x down x across inputs, filled up to a multiple of WIDE
    const float *scale, *shift;                     // of the norm, or null
    const float* images;                            // (B, in_chans, H, W)
    bf16 *patches, *out;                            // room for a row of inputs a token; (B, rows, columns, C)
};

// One patch as a row; what lies beyond the picture is zero.
void read_patch(const Embedding& e, int64_t b, int64_t row, int64_t column, bf16* to) {
    for (int64_t c = 0; c < e.in_chans; ++c)
        for (int64_t i = 0; i < e.down; ++i) {
            int64_t y = row * e.down + i, x = column * e.across;
            const float* from = e.images + ((b * e.in_chans + c) * e.H + y) * e.W + x;
            for (int64_t j = 0; j < e.across; ++j, ++to) put(to, y < e.H && x + j < e.W ? from[j] : 0.0f);
        }
}

}  // namespace

extern "C" {

void block(const Block* call, float scale, float eps1, float eps2) {
    const Block& b = *call;
    int64_t C = b.shape.channels(), threads = b.shape.threads, area = b.shape.H * b.shape.W;
    for (int64_t first = 0; first < b.shape.B; first += b.pictures) {
        Shape part = b.shape;
        part.B = std::min(b.pictures, b.shape.B - first);
        bf16* x = b.x + first * area * C;
        linear(after_norm({b.qkv, C, 3 * C, threads}, eps1), x, part.B * area, nullptr, b.wide);
        attend_in_tiles(part, b.wide, b.pad, b.bias, b.masks, b.narrow, scale);
        linear({b.proj, C, C, threads}, b.narrow, part.B * area, x, x);
    }
    for (int64_t first = 0; first < b.shape.B * area; first += b.rows) {
        int64_t rows = std::min(b.rows, b.shape.B * area - first);
        bf16* x = b.x + first * C;
        linear(before_gelu(after_norm({b.fc1, C, b.hidden, threads}, eps2)), x, rows, nullptr, b.wide);
        linear({b.fc2, b.hidden, C, threads}, b.wide, rows, x, x);
    }
}

void embedding(const Embedding* call, float eps) {
    const Embedding& e = *call;
    int64_t down = (e.H + e.down - 1) / e.down, across = (e.W + e.across - 1) / e.across, tokens = e.B * down * across;
    int64_t inputs = e.in_chans * e.down * e.across, wide = up(inputs, WIDE);
#pragma omp parallel for schedule(static) num_threads(e.threads)
    for (int64_t token = 0; token < tokens; ++token) {
        bf16* to = e.patches + token * wide;
        read_patch(e, token / (down * across), token / across % down, token % across, to);
        std::memset(to + inputs, 0, 2 * (wide - inputs));
    }
    linear({e.proj, wide, e.C, e.threads}, e.patches, tokens, nullptr, e.out);
    if (!e.scale) return;
#pragma omp parallel for schedule(static) num_threads(e.threads)
    for (int64_t token = 0; token < tokens; ++token) {
        bf16* x = e.out + token * e.C;
        norm_some<1>(x, e.C, eps, x);
        for (int64_t c = 0; c < e.C; c += V) store(x + c, load(x + c) * load(e.scale + c) + load(e.shift + c));
    }
}

void merging(const Merging* call, float eps) {
    const Merging& m = *call;
    int64_t down = (m.H + 1) / 2, across = (m.W + 1) / 2, rows = m.B * down * across;
#pragma omp parallel for schedule(static) num_threads(m.threads)
    for (int64_t token = 0; token < rows; ++token) {
        int64_t b = token / (down * across), r = token / across % down * 2, c = token % across * 2;
        bf16* to = m.four + token * 4 * m.C;
        for (int64_t part = 0; part < 4; ++part, to += m.C) {  // (0, 0), (1, 0), (0, 1), (1, 1)
            int64_t row = r + part % 2, column = c + part / 2;
            if (row < m.H && column < m.W)
                std::memcpy(to, m.x + ((b * m.H + row) * m.W + column) * m.C, 2 * m.C);
            else
                std::memset(to, 0, 2 * m.C);
        }
    }
    linear(after_norm({m.reduction, 4 * m.C, 2 * m.C, m.threads}, eps), m.four, rows, nullptr, m.out);
}
}

#else

extern "C" {
void block(const void*, float, float, float) {}
void embedding(const void*, float) {}
void merging(const void*, float) {}
}

#endif
