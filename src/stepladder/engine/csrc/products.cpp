// Products by AMX tiles for PyTorch's tensors.
//
// Compiled by GCC for CPUs with tiles, and empty elsewhere.

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9

#include "products.h"

#ifdef TILES

#include <vector>

extern "C" int64_t tiled_bf16() { return tiled<bf16>(); }

// Packs weights (outs, ins) with strides `apart`: outs and ins are padded to multiples of 32 with zeros.
extern "C" void packed_bf16(
    const bf16 *weights, bf16 *packed, int64_t outs, int64_t ins, int64_t out_apart, int64_t in_apart) {
    const int64_t blocks = (outs + 31) / 32, chunks = (ins + 31) / 32;
    const auto number = [=](int64_t out, int64_t in) {
        return out < outs && in < ins ? weights[out * out_apart + in * in_apart] : bf16{};
    };
#pragma omp parallel for collapse(2)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            bf16 *to = packed + (block * chunks + chunk) * 1024;
            const bool whole = in_apart == 1 && block * 32 + 32 <= outs && chunk * 32 + 32 <= ins;
            for (int64_t at = 0; at < 512; at++) {  // a pair of inputs
                const int64_t out = block * 32 + at / 256 * 16 + at % 16, in = chunk * 32 + at % 256 / 16 * 2;
                if (whole)
                    memcpy(to + at * 2, weights + out * out_apart + in, 2 * sizeof(bf16));
                else
                    to[at * 2] = number(out, in), to[at * 2 + 1] = number(out, in + 1);
            }
        }
}

// y (rows, outs) = x (rows, ins) times packed weights (outs, ins), plus bias (outs) and onto (rows, outs) if given; y may
// be `onto`. With ranks, low (rows, ranks; allocated for 32 rows at least) = x times packed down (ranks, ins), and low
// times up (outs, ranks) is added.
extern "C" void tiled_product_bf16(
    const bf16 *x, const bf16 *weights, const bf16 *bias, const bf16 *onto, const bf16 *down, const bf16 *up, bf16 *low,
    bf16 *y, int64_t rows, int64_t outs, int64_t ins, int64_t ranks) {
    std::vector<bf16> few;
    if (rows < 32) {
        few.resize(32 * ins);
        memcpy(few.data(), x, rows * ins * sizeof(bf16));
        x = few.data();
    }
    const Term<bf16> terms[] = {{weights, ins, x, ins, weights}, {up, ranks, low, ranks, up}};
    const Term<bf16> first = {down, ins, x, ins, down};
    const int count = ranks ? 2 : 1;
#pragma omp parallel
    {
        const Tiles tiles(true);
        if (ranks) {
            product(true, &first, 1, ranks, rows, [=](int64_t row, int64_t rank, const float *sums, auto count) {
                put_sums<bf16>(sums, count, nullptr, nullptr, low + row * ranks + rank);
            });
#pragma omp barrier
        }
        if (bias || onto)
            product(true, terms, count, outs, rows, [=](int64_t row, int64_t out, const float *sums, auto count) {
                const int64_t at = row * outs + out;
                put_sums(sums, count, bias ? bias + out : nullptr, onto ? onto + at : nullptr, y + at);
            });
        else
            product(true, terms, count, outs, rows, [=](int64_t row, int64_t out, const float *sums, auto count) {
                put_sums<bf16>(sums, count, nullptr, nullptr, y + row * outs + out);
            });
    }
}

#endif
#endif
