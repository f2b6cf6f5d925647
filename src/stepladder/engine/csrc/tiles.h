// Products by AMX tiles of sixteen rows of 64 bytes, with prepacked weights.
//
// Packed weights (outs, ins) are blocks of 32 outputs, each of blocks of 32 inputs, each of two tiles of 16 outputs: the
// rows of a tile are pairs of inputs, one pair for every output. They are read sequentially.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 (AMX).
#pragma once

#include "vectors.h"

#if defined(BF16_PRODUCTS) && defined(__AMX_BF16__) && defined(__linux__)
#define TILES
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

const int64_t FETCHED = 18 * 1024;  // bytes that packed weights are prefetched ahead

// Whether there are tiles for this type.
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

// A process requests permission to use tiles once.
template <>
inline bool tiled<bf16>() {
    static const bool allowed = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return allowed;
}

// The compilers' intrinsics declare eight of the 64 bytes only, so the others might not be written.
inline void set(const TileForm &form) { __asm__ volatile("ldtilecfg %0" : : "m"(form)); }
inline void get(TileForm &form) { __asm__ volatile("sttilecfg %0" : "=m"(form)); }

// During its lifetime all tiles have sixteen rows of 64 bytes; afterwards the configuration that they had before.
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

// The sums of all `terms` for a BLOCK of outputs and up to `COUNT` times sixteen rows from `row` on: put(row, output,
// sums, count). x is allocated for that many rows.
template <int COUNT, class Put>
inline void tile_block(const Term<bf16> *terms, int count, const Part &part, int64_t row, Put put) {
    const int64_t from = std::max<int64_t>(0, std::min(row, part.rows - 16 * COUNT));  // rows at the end are computed twice
    __asm__ volatile("" : : : "memory");  // orders earlier stores before the loads of tiles, which do not declare what they read
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (const Term<bf16> *term = terms; term < terms + count; term++) {
        const bf16 *weights = term->weights + part.out * term->width, *x = term->x + from * term->width;
        for (int64_t i = 0; i < term->width; i += 32, weights += 1024) {
            if (row == part.row)
                for (int line = 0; line < 32; line++) _mm_prefetch(weights + FETCHED + 32 * line, _MM_HINT_T1);
            _tile_loadd(6, weights, 64);
            _tile_loadd(7, weights + 512, 64);
            _tile_loadd(4, x + i, term->width * 2);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (COUNT == 1) continue;
            _tile_loadd(5, x + 16 * term->width + i, term->width * 2);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    lanes found[32 * COUNT];  // sixteen outputs of sixteen rows, then those to the right, then those below
    _tile_stored(0, found, 64);
    _tile_stored(1, found + 16, 64);
    if (COUNT == 2) {
        _tile_stored(2, found + 32, 64);
        _tile_stored(3, found + 48, 64);
    }
    const int64_t first = row - from, end = std::min<int64_t>(part.end_row - from, 16 * COUNT), out = part.out;
    const int64_t outs = part.end_out - out;
    const auto sums = [&](int64_t r, int64_t half) { return (const float *)&found[r / 16 * 32 + half * 16 + r % 16]; };
    const std::integral_constant<int64_t, 16> all;
    if (outs == 32)
        for (int64_t r = first; r < end; r++) {
            put(from + r, out, sums(r, 0), all);
            put(from + r, out + 16, sums(r, 1), all);
        }
    else
        for (int64_t r = first; r < end; r++) {
            put(from + r, out, sums(r, 0), std::min<int64_t>(outs, 16));
            if (outs > 16) put(from + r, out + 16, sums(r, 1), outs - 16);
        }
}
#else
struct Tiles {
    explicit Tiles(bool) {}
};
#endif

}  // namespace
