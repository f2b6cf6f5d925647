// Products of rows and weights, by tiles where there are any, else by vectors.
//
// The result of a row depends neither on the other rows nor on the number of threads.
#pragma once

#include "tiles.h"

namespace {

const int64_t BLOCK = 32;  // outputs of a thread at once
const int64_t TOGETHER = 1 << 18;  // numbers of rows that are multiplied with all weights before the next: they fit into a core's cache

template <class T, class Put>
inline void block(bool, const Term<T> *terms, int count, const Part &part, Put put) {
    dots(terms, count, part.out, part.end_out, part.rows, put);
}

#ifdef TILES
template <class Put>
inline void block(bool tiled, const Term<bf16> *terms, int count, const Part &part, Put put) {
    if (!tiled) return dots(terms, count, part.out, part.end_out, part.rows, put);
    for (int64_t row = part.row; row < part.end_row; row += 32)
        if (part.end_row - row > 16)
            tile_block<2>(terms, count, part, row, put);
        else
            tile_block<1>(terms, count, part, row, put);
}
#endif

// x (rows, width) of all `terms` to all outputs, by all threads of a team, without a barrier at the end:
// put(row, output, sums, count) gets the sums of one row and `count` outputs. `tiled`: weights are packed.
template <class T, class Put>
inline void product(bool tiled, const Term<T> *terms, int count, int64_t outs, int64_t rows, Put put) {
    const int64_t parts = tiled ? 1 + rows * terms->width / TOGETHER : 1;
    const int64_t some = (rows / parts + 32) / 32 * 32;
#pragma omp for collapse(2) schedule(static) nowait
    for (int64_t row = 0; row < rows; row += some)
        for (int64_t out = 0; out < outs; out += BLOCK) {
            const Part part = {out, std::min(out + BLOCK, outs), row, std::min(row + some, rows), rows};
            block(tiled, terms, count, part, put);
        }
}

// Sums of one row and up to sixteen outputs, and optional summands.
template <class T>
inline void put_sums(const float *sums, int64_t count, const T *bias, const T *onto, T *to) {
    if (count == 16) {
        lanes all = sixteen(sums);
        if (bias) all += sixteen(bias);
        if (onto) all += sixteen(onto);
        return store_sixteen(to, all);
    }
    for (int64_t i = 0; i < count; i++)
        store(to + i, sums[i] + (bias ? load(bias[i]) : 0.f) + (onto ? load(onto[i]) : 0.f));
}

// Few rows, by one thread.
template <class T, class Put>
inline void product_alone(bool tiled, const Term<T> &term, int64_t outs, int64_t rows, Put put) {
    for (int64_t out = 0; out < outs; out += BLOCK)
        block(tiled, &term, 1, Part{out, std::min(out + BLOCK, outs), 0, rows, rows}, put);
}

}  // namespace
