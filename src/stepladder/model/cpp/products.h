// Products of few rows: weights are read once, as they lie, and each is used for all rows while it is at hand.
//
// For processors with vectors of 64 bytes, and with tiles where there are any. What is found for a row does not depend
// on the rows beside it, nor on how many threads there are.
#pragma once

#include <algorithm>
#include <type_traits>

#include "numbers.h"

#if defined(__AVX512BF16__)
#define BF16_PRODUCTS
#include <immintrin.h>
#endif
#if defined(BF16_PRODUCTS) && defined(__AMX_BF16__) && defined(__linux__)
#define TILES
#include <sys/syscall.h>
#include <unistd.h>
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

// Of sixteen vectors the sum of each.
inline lanes totals(const lanes *of) {
    lanes eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = halved<16>(of[2 * i], of[2 * i + 1]);
    for (int i = 0; i < 4; i++) four[i] = halved<8>(eight[2 * i], eight[2 * i + 1]);
    return halved<2>(halved<4>(four[0], four[1]), halved<4>(four[2], four[3]));
}

// Sixteen rows of sixteen numbers become columns.
inline void transpose(lanes *rows) {
    const places low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}, high = low + 8;
    for (int round = 0; round < 4; round++) {
        lanes mixed[16];
        for (int i = 0; i < 8; i++) {
            mixed[2 * i] = __builtin_shuffle(rows[i], rows[i + 8], low);
            mixed[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + 8], high);
        }
        for (int i = 0; i < 16; i++) rows[i] = mixed[i];
    }
}

// Calls with `count`, 1 to 4, as a constant.
template <class F>
inline void counted(int64_t count, F call) {
    if (count == 1) call(std::integral_constant<int, 1>());
    if (count == 2) call(std::integral_constant<int, 2>());
    if (count == 3) call(std::integral_constant<int, 3>());
    if (count == 4) call(std::integral_constant<int, 4>());
}

// x (rows, width) times weights (outs, width), rows `apart` from each other. `pairs`: of x, for tiles. `next`: like the
// weights, where what is wanted soon is fetched from meanwhile.
template <class T>
struct Term {
    const T *weights;
    int64_t apart;
    const T *x;
    int64_t width;
    const uint32_t *pairs;
    const T *next;
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
                            __builtin_prefetch(weights[o] + ahead + i);
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

const int64_t BLOCK = 32;  // outputs that a thread takes at once

template <class T>
inline bool tiled() {
    return false;
}

#ifdef TILES
struct alignas(64) TileForm {
    uint8_t palette = 0, start = 0, unused[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
};

// A process asks once whether it may use tiles.
template <>
inline bool tiled<bf16>() {
    static const bool allowed = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return allowed;
}

// The compilers' own functions for this say of 64 bytes eight alone, and the others may never be written.
inline void set(const TileForm &form) { __asm__ volatile("ldtilecfg %0" : : "m"(form)); }
inline void get(TileForm &form) { __asm__ volatile("sttilecfg %0" : "=m"(form)); }

// While it lives, all tiles are of sixteen rows of 64 bytes; afterwards of the form that somebody else gave them.
class Tiles {
  public:
    explicit Tiles(bool used) : used(used) {
        if (!used) return;
        get(before);
        TileForm form;
        form.palette = 1;
        for (int i = 0; i < 8; i++) form.bytes[i] = 64, form.rows[i] = 16;
        set(form);
    }
    ~Tiles() {
        if (!used) return;
        if (before.palette)
            set(before);
        else
            _tile_release();
    }

  private:
    bool used;
    TileForm before;
};

// `dots` of a BLOCK of outputs and `COUNT` times sixteen rows from `row` on; `padded`: rows in the terms' pairs.
template <int COUNT, class Put>
inline void tile_block(
    const Term<bf16> *terms, int count, int64_t out, int64_t row, int64_t rows, int64_t padded, Put put) {
    __asm__ volatile("" : : : "memory");  // what was written is there: loads of tiles do not say what they read
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (const Term<bf16> *term = terms; term < terms + count; term++)
        for (int64_t i = 0; i < term->width; i += 32) {
            const bf16 *weights = term->weights + out * term->apart + i;
            const uint32_t *pairs = term->pairs + i / 2 * padded + row;
            if (COUNT == 2 && row == 0)  // the next block: with more tiles to load, those of weights are asked for too late
                for (int line = 0; line < 32; line++)
                    _mm_prefetch(term->weights + (out + BLOCK) * term->apart + (i + line) * 32, _MM_HINT_T1);
            _tile_loadd(4, weights, term->apart * 2);
            _tile_loadd(5, weights + 16 * term->apart, term->apart * 2);
            _tile_loadd(6, pairs, padded * 4);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 5, 6);
            if (COUNT == 1) continue;
            _tile_loadd(7, pairs + 16, padded * 4);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    lanes found[2 * COUNT][16];  // each sixteen outputs of sixteen rows
    _tile_stored(0, found[0], 64);
    _tile_stored(1, found[1], 64);
    if (COUNT == 2) {
        _tile_stored(2, found[2], 64);
        _tile_stored(3, found[3], 64);
    }
    for (int part = 0; part < 2 * COUNT; part++) transpose(found[part]);
    for (int64_t r = 0; r < std::min<int64_t>(rows - row, 16 * COUNT); r++)
        for (int half = 0; half < 2; half++)
            put(row + r, out + 16 * half, (const float *)&found[r / 16 * 2 + half][r % 16], 16);
}

template <class Put>
inline void block(const Term<bf16> *terms, int count, int64_t out, int64_t end, int64_t rows, Put put) {
    const int64_t padded = (rows + 15) / 16 * 16;
    if (!tiled<bf16>() || end - out < BLOCK) return dots(terms, count, out, end, rows, put);
    int64_t row = 0;
    for (; row + 16 < padded; row += 32) tile_block<2>(terms, count, out, row, rows, padded, put);
    if (row < padded) tile_block<1>(terms, count, out, row, rows, padded, put);
}
#else
struct Tiles {
    explicit Tiles(bool) {}
};
#endif

template <class T, class Put>
inline void block(const Term<T> *terms, int count, int64_t out, int64_t end, int64_t rows, Put put) {
    dots(terms, count, out, end, rows, put);
}

// `dots` of all outputs by all threads of a team; nobody waits for the others at its end.
template <class T, class Put>
inline void product(const Term<T> *terms, int count, int64_t outs, int64_t rows, Put put) {
#pragma omp for schedule(static) nowait
    for (int64_t out = 0; out < outs; out += BLOCK)
        block(terms, count, out, std::min(out + BLOCK, outs), rows, put);
}

// By one thread alone.
template <class T, class Put>
inline void product_alone(const Term<T> &term, int64_t outs, int64_t rows, Put put) {
    for (int64_t out = 0; out < outs; out += BLOCK) block(&term, 1, out, std::min(out + BLOCK, outs), rows, put);
}

// Of x (rows, width) sixteen pairs of each row's numbers, from `pair` on, as tiles want them: pairs (width / 2, rows
// padded to 16).
template <class T>
inline void pair_some(const T *x, int64_t rows, int64_t width, int64_t pair, uint32_t *pairs) {
    const int64_t padded = (rows + 15) / 16 * 16;
    for (int64_t row = 0; row < padded; row += 16) {
        lanes own[16] = {};
        for (int64_t r = 0; r < std::min<int64_t>(rows - row, 16); r++)
            own[r] = *(const lanes_anywhere *)(x + (row + r) * width + pair * 2);
        transpose(own);
        for (int64_t i = 0; i < 16; i++) *(lanes_anywhere *)(pairs + (pair + i) * padded + row) = own[i];
    }
}

// All of them, where there are tiles, by all threads of a team.
template <class T>
inline void pair_up(const T *x, int64_t rows, int64_t width, uint32_t *pairs) {
    if (!tiled<T>()) return;
#pragma omp for
    for (int64_t pair = 0; pair < width / 2; pair += 16) pair_some(x, rows, width, pair, pairs);
}

template <class T>
inline void pair_alone(const T *x, int64_t rows, int64_t width, uint32_t *pairs) {
    for (int64_t pair = 0; tiled<T>() && pair < width / 2; pair += 16) pair_some(x, rows, width, pair, pairs);
}

}  // namespace
