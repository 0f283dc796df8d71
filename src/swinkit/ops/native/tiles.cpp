// Window attention, forward, in bfloat16 on the matrix unit: 16 queries and 32 keys at a time.
//
// A tile holds 16 rows of 64 bytes (see TILE and WIDE). A product of tiles adds, for each row of A and column of B,
// pairs of neighbouring channels: keys are laid out as (pair of channels, key, 2), values as (pair of keys, channel,
// 2). Tiles of scores begin as the bias, so that adding it costs nothing. Legend: as in attention.cpp.

#include "tiles.h"
#include "turn.h"

#if HAS_TILES

#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Two rows of 32 channels as (channel, 2): 64 numbers.
void interleave(__m512i first, __m512i second, bf16* out) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                                         38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(first, low, second));
    _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi16(first, high, second));
}

struct Head {
    bf16 *q, *k, *v;            // (rows, wide), (wide / 2, columns, 2), (columns / 2, wide, 2)
    const float *bias, *mask;   // (rows, columns), mask may be null
    float* scores;              // (16, columns)
    bf16* weights;              // (16, columns)
    float* out;                 // (16, wide)
    int64_t columns, wide;      // wide: channels rounded up to 32
};

void multiply_keys(const Head& head, int64_t row) {
    for (int64_t column = 0; column < head.columns; column += 2 * TILE) {
        const float* bias = head.bias + row * head.columns + column;
        _tile_loadd(0, bias, 4 * head.columns);
        _tile_loadd(1, bias + TILE, 4 * head.columns);
        for (int64_t c = 0; c < head.wide; c += WIDE) {
            const bf16* k = head.k + c * head.columns + 2 * column;
            _tile_loadd(4, head.q + row * head.wide + c, 2 * head.wide);
            _tile_loadd(5, k, 4 * head.columns);
            _tile_loadd(6, k + 2 * TILE, 4 * head.columns);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
        }
        _tile_stored(0, head.scores + column, 4 * head.columns);
        _tile_stored(1, head.scores + column + TILE, 4 * head.columns);
    }
}

void multiply_values(const Head& head) {
    for (int64_t channel = 0; channel < head.wide; channel += 2 * TILE) {
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t key = 0; key < head.columns; key += WIDE) {
            const bf16* v = head.v + key * head.wide + 2 * channel;
            _tile_loadd(4, head.weights + key, 2 * head.columns);
            _tile_loadd(5, v, 4 * head.wide);
            _tile_loadd(6, v + 2 * TILE, 4 * head.wide);
            _tile_dpbf16ps(2, 4, 5);
            _tile_dpbf16ps(3, 4, 6);
        }
        _tile_stored(2, head.out + channel, 4 * head.wide);
        _tile_stored(3, head.out + channel + TILE, 4 * head.wide);
    }
}

// q, k and v of a head as the products want them; what is beyond N tokens or d channels is zero.
void pack(const Head& head, const bf16* const* rows, int64_t N, int64_t d, int64_t channels) {
    for (int64_t c = 0; c < head.wide; c += WIDE) {
        __mmask32 some = c + WIDE <= d ? ~0u : (1u << (d - c)) - 1;
        auto read = [&](int64_t part, int64_t i) {
            return i < N ? _mm512_maskz_loadu_epi16(some, rows[i] + part * channels + c) : _mm512_setzero_si512();
        };
        for (int64_t i = 0; i < N; ++i) _mm512_storeu_si512(head.q + i * head.wide + c, read(0, i));
        for (int64_t i = 0; i < head.columns; i += TILE) {
            __m512i keys[TILE];
            for (int r = 0; r < TILE; ++r) keys[r] = read(1, i + r);
            turn(keys, head.k + c * head.columns + 2 * i, 4 * head.columns);
        }
        for (int64_t i = 0; i < head.columns; i += 2)
            interleave(read(2, i), read(2, i + 1), head.v + i * head.wide + 2 * c);
    }
}

}  // namespace

bool has_tiles() {
    static const bool granted = [] {
        unsigned long have = 0;
        constexpr int ask = 0x1023, get = 0x1022, data = 18;  // arch_prctl(2): permission for tile data
        if (syscall(SYS_arch_prctl, ask, data)) return false;
        return !syscall(SYS_arch_prctl, get, &have) && (have >> data & 1);
    }();
    return granted;
}

void attend_in_tiles(const Shape& shape, const bf16* qkv, const bf16* pad, const float* bias, const float* masks,
                     bf16* out, float scale) {
    int64_t N = shape.tokens(), d = shape.d, channels = shape.channels();
    int64_t columns = up(N, WIDE), rows = up(N, TILE), wide = up(d, WIDE);
    float factor = scale * LOG2E;
#pragma omp parallel num_threads(shape.threads)
    {
        TileSetup setup;
        Scratch scratch(2 * wide * (rows + 2 * columns) + (4 + 2) * TILE * columns + 4 * TILE * wide + 16 * N + 1024);
        Head head{};
        head.q = scratch.take<bf16>(rows * wide);
        head.k = scratch.take<bf16>(wide * columns);
        head.v = scratch.take<bf16>(columns * wide);
        head.scores = scratch.take<float>(TILE * columns);
        head.weights = scratch.take<bf16>(TILE * columns);
        head.out = scratch.take<float>(TILE * wide);
        head.columns = columns;
        head.wide = wide;
        int64_t* token = scratch.take<int64_t>(N);
        const bf16** row = scratch.take<const bf16*>(N);
        std::memset(head.q, 0, 2 * rows * wide);
        std::memset(head.weights, 0, 2 * TILE * columns);
#pragma omp for schedule(static)
        for (int64_t window = 0; window < shape.windows(); ++window) {
            int64_t masked = find_window(shape, window, token);
            head.mask = masked ? masks + masked * rows * columns : nullptr;
            for (int64_t h = 0; h < shape.heads; ++h) {
                for (int64_t i = 0; i < N; ++i) row[i] = (token[i] < 0 ? pad : qkv + token[i] * 3 * channels) + h * d;
                pack(head, row, N, d, channels);
                head.bias = bias + h * rows * columns;
                for (int64_t i = 0; i < N; i += TILE) {
                    int64_t count = i + TILE <= N ? TILE : N - i;
                    float sums[TILE];
                    multiply_keys(head, i);
                    for (int64_t r = 0; r < count; ++r) {
                        float* scores = head.scores + r * columns;
                        if (head.mask)
                            for (int64_t c = 0; c < columns; c += V)
                                store(scores + c, load(scores + c) + load(head.mask + (i + r) * columns + c));
                        sums[r] = softmax_row(scores, columns, factor, head.weights + r * columns);
                    }
                    multiply_values(head);
                    for (int64_t r = 0; r < count; ++r) {
                        if (token[i + r] < 0) continue;
                        write_row(head.out + r * wide, d, 1.0f / sums[r], out + token[i + r] * channels + h * d);
                    }
                }
            }
        }
    }
}

#else

bool has_tiles() { return false; }

void attend_in_tiles(const Shape&, const bf16*, const bf16*, const float*, const float*, bf16*, float) {}

#endif
