// Functions of one row of numbers, in float32 inside.
#pragma once

#include "numbers.h"

namespace {

// Returns the factor of the row.
template <class T>
inline float norm_row(const T *from, const T *weight, T *to, int64_t width, float eps) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; i++) squares += load(from[i]) * load(from[i]);
    const float scale = 1.f / std::sqrt(squares / float(width) + eps);
#pragma omp simd
    for (int64_t i = 0; i < width; i++) store(to + i, load(from[i]) * scale * load(weight[i]));
    return scale;
}

template <class T>
inline void gate_row(const T *gate, const T *up, T *to, int64_t width) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const float x = load(gate[i]);
        store(to + i, x * sigmoid(x) * load(up[i]));
    }
}

// Rotates one head; `sign` -1: the inverse rotation.
template <class T>
inline void turn_row(const T *from, const T *cosine, const T *sine, T *to, int64_t width, float sign) {
    const int64_t half = width / 2;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        const float first = load(from[i]), second = load(from[half + i]);
        store(to + i, std::fma(second, sign * load(sine[i]), first * load(cosine[i])));
        store(to + half + i, std::fma(first, sign * load(sine[half + i]), second * load(cosine[half + i])));
    }
}

}  // namespace
