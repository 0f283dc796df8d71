// Patch merging up to its linear layer: four neighbours side by side, normed.

#include "rows.h"

// x (B, H, W, C) to out (B, H / 2, W / 2, 4 C), odd sides filled up with zeros. numbers: B, H, W, C, type, threads.
template <class T> static void merge(const int64_t* numbers, const T* x, T* out, float eps) {
    int64_t B = numbers[0], H = numbers[1], W = numbers[2], C = numbers[3];
    int64_t down = (H + 1) / 2, across = (W + 1) / 2;
#pragma omp parallel for schedule(static) num_threads(numbers[5])
    for (int64_t token = 0; token < B * down * across; ++token) {
        int64_t b = token / (down * across), r = token / across % down * 2, c = token % across * 2;
        T* to = out + token * 4 * C;
        for (int64_t part = 0; part < 4; ++part) {  // rows first: (0, 0), (1, 0), (0, 1), (1, 1)
            int64_t row = r + part % 2, column = c + part / 2;
            if (row < H && column < W)
                std::memcpy(to + part * C, x + ((b * H + row) * W + column) * C, C * sizeof(T));
            else
                std::memset(to + part * C, 0, C * sizeof(T));
        }
        norm_row(to, 4 * C, eps, to);
    }
}

extern "C" void merge_rows(const int64_t* numbers, const void* x, void* out, float eps) {
    if (numbers[4] == FLOAT)
        merge(numbers, static_cast<const float*>(x), static_cast<float*>(out), eps);
    else
        merge(numbers, static_cast<const bf16*>(x), static_cast<bf16*>(out), eps);
}
