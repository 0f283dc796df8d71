// Vectors of float on any processor, by the compiler's own vector types, and the few functions kernels need.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int V = 16;
#elif defined(__AVX__)
constexpr int V = 8;
#else
constexpr int V = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * V), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * V), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(4 * V), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(2 * V), aligned(2), may_alias));

struct bf16 {
    uint16_t bits;
};

constexpr int64_t FLOAT = 0, BFLOAT16 = 1;  // types of maps, as the caller names them

inline Vec splat(float x) { return x - Vec{}; }

inline Vec load(const float* from) { return *reinterpret_cast<const Vec*>(from); }

inline Vec load(const bf16* from) {
    Words wide = __builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16;
    return reinterpret_cast<Vec&>(wide);
}

inline void store(float* to, Vec x) { *reinterpret_cast<Vec*>(to) = x; }

// Round to nearest, ties to even; NaN stays NaN.
inline void store(bf16* to, Vec x) {
#if defined(__AVX512BF16__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    Words bits = reinterpret_cast<Words&>(x);
    bits = (x == x) ? ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : (bits >> 16) | 0x40;
    *reinterpret_cast<Halves*>(to) = __builtin_convertvector(bits, Halves);
#endif
}

// One number to float, and back as `store` rounds.
inline float one(float x) { return x; }

inline float one(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

inline void put(float* to, float x) { *to = x; }

inline void put(bf16* to, float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    to->bits = uint16_t(x == x ? (bits + 0x7fff + ((bits >> 16) & 1)) >> 16 : (bits >> 16) | 0x40);
}

inline float sum(Vec x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < V; ++i) total += x[i];
    return total;
#endif
}

inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

inline float largest(Vec x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    float top = x[0];
    for (int i = 1; i < V; ++i) top = x[i] > top ? x[i] : top;
    return top;
#endif
}

// 2 ** f for f from -1/2 to 1/2, within 2e-9 relative before rounding.
inline Vec exp2_fraction(Vec f) {
    Vec p = splat(1.53458078e-4f);
    p = p * f + 1.33999316e-3f;
    p = p * f + 9.61848898e-3f;
    p = p * f + 5.55032878e-2f;
    p = p * f + 2.40226469e-1f;
    p = p * f + 6.93147206e-1f;
    return p * f + 1.0f;
}

// 2 ** x for x <= 0; 0 below 2 ** -100, so that no product is denormal and slow; NaN for NaN.
inline Vec exp2_below_zero(Vec x) {
#if defined(__AVX512F__)
    __m512 y = reinterpret_cast<__m512&>(x);
    __mmask16 some = _mm512_cmp_ps_mask(y, _mm512_set1_ps(-100.0f), _CMP_NLT_UQ);
    __m512 whole = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    Vec p = exp2_fraction(x - reinterpret_cast<Vec&>(whole));
    __m512 out = _mm512_maskz_scalef_ps(some, reinterpret_cast<__m512&>(p), whole);
    return reinterpret_cast<Vec&>(out);
#else
    const Vec least = splat(-100.0f);
    const auto none = x < least;
    x = none ? least : x;
    const Vec turn = splat(12582912.0f);  // 1.5 * 2 ** 23: adding it rounds to an integer
    Vec whole = (x + turn) - turn;
    Ints power = (__builtin_convertvector(whole, Ints) + 127) << 23;
    return none ? Vec{} : exp2_fraction(x - whole) * reinterpret_cast<Vec&>(power);
#endif
}

// A row of n numbers to float; what `to` has beyond them stays.
template <class T> inline void read_row(const T* from, int64_t n, float* to) {
    int64_t c = 0;
    for (; c + V <= n; c += V) store(to + c, load(from + c));
    for (; c < n; ++c) to[c] = one(from[c]);
}

// A row of n floats, times `factor`, to a map.
template <class T> inline void write_row(const float* from, int64_t n, float factor, T* to) {
    int64_t c = 0;
    for (; c + V <= n; c += V) store(to + c, load(from + c) * factor);
    for (; c < n; ++c) put(to + c, from[c] * factor);
}
