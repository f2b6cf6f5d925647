// Products of few rows by vectors of 64 bytes: weights are read once, unpacked, and each is used for all rows. The result
// of a row does not depend on the other rows.
#pragma once

#include <algorithm>
#include <type_traits>

#include "numbers.h"

#if defined(__AVX512BF16__)
#define BF16_PRODUCTS
#include <immintrin.h>
#endif

namespace {

typedef float lanes __attribute__((vector_size(64)));
typedef float lanes_anywhere __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t places __attribute__((vector_size(64)));

inline lanes sixteen(const float *from) { return *(const lanes_anywhere *)from; }
inline lanes sixteen(const bf16 *from) {
    typedef uint16_t halves __attribute__((vector_size(32), aligned(2), may_alias));
    return (lanes)(__builtin_convertvector(*(const halves *)from, places) << 16);
}

inline void store_sixteen(float *to, lanes x) { *(lanes_anywhere *)to = x; }
inline void store_sixteen(bf16 *to, lanes x) {
#ifdef BF16_PRODUCTS
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    for (int i = 0; i < 16; i++) store(to + i, x[i]);
#endif
}

// As many numbers as a vector holds, and how their products are added to sixteen sums.
template <class T>
struct Packet;

template <>
struct Packet<float> {
    static const int64_t COUNT = 16;
    lanes values;
    explicit Packet(const float *from) : values(sixteen(from)) {}
    static lanes add(lanes sums, Packet a, Packet b) { return sums + a.values * b.values; }
};

#ifdef BF16_PRODUCTS
template <>
struct Packet<bf16> {
    static const int64_t COUNT = 32;
    __m512bh values;
    explicit Packet(const bf16 *from) : values((__m512bh)_mm512_loadu_si512(from)) {}
    static lanes add(lanes sums, Packet a, Packet b) { return (lanes)_mm512_dpbf16_ps((__m512)sums, a.values, b.values); }
};
#endif

// Groups of `SIZE` lanes are added up to half as many: those of `a`, then those of `b`.
template <int SIZE>
inline lanes halved(lanes a, lanes b) {
    places low = {}, high = {};
    for (int i = 0; i < 16; i++) {
        const int half = SIZE / 2, of = i % 8;
        low[i] = i / 8 * 16 + of / half * SIZE + of % half;
        high[i] = low[i] + half;
    }
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
}

// The sums of sixteen vectors.
inline lanes totals(const lanes *of) {
    lanes eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = halved<16>(of[2 * i], of[2 * i + 1]);
    for (int i = 0; i < 4; i++) four[i] = halved<8>(eight[2 * i], eight[2 * i + 1]);
    return halved<2>(halved<4>(four[0], four[1]), halved<4>(four[2], four[3]));
}

// Calls with `count`, 1 to 4, as a constant.
template <class F>
inline void counted(int64_t count, F call) {
    if (count == 1) call(std::integral_constant<int, 1>());
    if (count == 2) call(std::integral_constant<int, 2>());
    if (count == 3) call(std::integral_constant<int, 3>());
    if (count == 4) call(std::integral_constant<int, 4>());
}

// x (rows, width) times weights (outs, width), with a stride of rows `apart`, or packed for tiles. `next`: weights to
// prefetch meanwhile.
template <class T>
struct Term {
    const T *weights;
    int64_t apart;
    const T *x;
    int64_t width;
    const T *next;
};

// Outputs and rows of a product that are computed at once; all `rows` may be read.
struct Part {
    int64_t out, end_out, row, end_row, rows;
};

// The sums of all `terms` for outputs `first` up to `end` and all rows: put(row, output, sums, count), of one row and
// `count` outputs from `output` on.
template <class T, class Put>
inline void dots(const Term<T> *terms, int count, int64_t first, int64_t end, int64_t rows, Put put) {
    for (int64_t out = first; out < end; out += 4)
        for (int64_t row = 0; row < rows; row += 4)
            counted(std::min<int64_t>(rows - row, 4), [&](auto some) {
                const int ROWS = decltype(some)::value;
                lanes sums[16] = {};
                for (const Term<T> *term = terms; term < terms + count; term++) {
                    const T *x = term->x + row * term->width, *weights[4];
                    for (int o = 0; o < 4; o++) weights[o] = term->weights + std::min(out + o, end - 1) * term->apart;
                    const int64_t ahead = term->next - term->weights;
                    for (int64_t i = 0; i < term->width; i += Packet<T>::COUNT) {
                        for (int64_t o = row / 4; o < 4; o += (rows + 3) / 4)
                            __builtin_prefetch(weights[o] + ahead + i, 0, 2);
                        const Packet<T> of_outputs[] = {
                            Packet<T>(weights[0] + i), Packet<T>(weights[1] + i), Packet<T>(weights[2] + i),
                            Packet<T>(weights[3] + i)};
                        for (int r = 0; r < ROWS; r++) {
                            const Packet<T> own(x + r * term->width + i);
                            for (int o = 0; o < 4; o++)
                                sums[r * 4 + o] = Packet<T>::add(sums[r * 4 + o], of_outputs[o], own);
                        }
                    }
                }
                float found[16];
                *(lanes_anywhere *)found = totals(sums);
                for (int r = 0; r < ROWS; r++) put(row + r, out, found + 4 * r, std::min<int64_t>(end - out, 4));
            });
}

}  // namespace
