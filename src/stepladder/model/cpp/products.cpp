// Products of a layer by tiles, for PyTorch's tensors.
//
// Compiled by GCC for processors with tiles, and empty elsewhere.

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9

#include "products.h"

#ifdef TILES

#include <vector>

extern "C" int64_t tiled_bf16() { return tiled<bf16>(); }

// x (rows, ins) by packed weights (outs, ins) to y (rows, outs), perhaps in the place of `onto`; each of bias (outs) and
// onto (rows, outs) may be none.
extern "C" void tiled_product_bf16(
    const bf16 *x, const bf16 *weights, const bf16 *bias, const bf16 *onto, bf16 *y, int64_t rows, int64_t outs,
    int64_t ins) {
    std::vector<bf16> few;
    if (rows < 32) {
        few.resize(32 * ins);
        memcpy(few.data(), x, rows * ins * sizeof(bf16));
        x = few.data();
    }
    const Term<bf16> term = {weights, ins, x, ins, weights};
#pragma omp parallel
    {
        const Tiles tiles(true);
        if (bias || onto)
            product(true, &term, 1, outs, rows, [=](int64_t row, int64_t out, const float *sums, auto count) {
                const int64_t at = row * outs + out;
                put_sums(sums, count, bias ? bias + out : nullptr, onto ? onto + at : nullptr, y + at);
            });
        else
            product(true, &term, 1, outs, rows, [=](int64_t row, int64_t out, const float *sums, auto count) {
                put_sums<bf16>(sums, count, nullptr, nullptr, y + row * outs + out);
            });
    }
}

#endif
#endif
