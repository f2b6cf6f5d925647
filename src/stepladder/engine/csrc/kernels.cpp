// Norm, rotary embedding, gate and softmax of a Llama-like layer, each in one pass through memory, in float32 inside.
//
// operations.py and softmax.py have the same in PyTorch's operations; kernels.py compiles this file. Each row is the work
// of one thread, so that results do not depend on the number of threads. Rows are contiguous, `width` numbers each.

#include "rows.h"

namespace {

const int64_t CAUSAL_WIDTH = 1024;  // columns of scores at most, as in kernels.py

inline bool many(int64_t numbers) { return numbers >= 1 << 14; }  // below, a second thread gains nothing

template <class T>
void rms_norm(const T *x, const T *weight, T *out, float *scales, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++)
        scales[row] = norm_row(x + row * width, weight, out + row * width, width, eps);
}

template <class T>
void rms_norm_back(
    const T *gradient, const T *x, const T *weight, const float *scales, T *out, int64_t rows, int64_t width) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        const T *from = x + row * width, *towards = gradient + row * width;
        T *to = out + row * width;
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (int64_t i = 0; i < width; i++) along += load(towards[i]) * load(weight[i]) * load(from[i]);
        const float scale = scales[row];
        along *= -scale * scale * scale / float(width);
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            store(to + i, std::fma(load(from[i]), along, load(towards[i]) * load(weight[i]) * scale));
    }
}

template <class T>
void gated(const T *gate_up, T *out, int64_t rows, int64_t width) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        const T *gate = gate_up + row * 2 * width;
        gate_row(gate, gate + width, out + row * width, width);
    }
}

template <class T>
void gated_back(const T *gradient, const T *gate_up, T *out, int64_t rows, int64_t width) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        const T *towards = gradient + row * width, *gate = gate_up + row * 2 * width, *up = gate + width;
        T *to_gate = out + row * 2 * width, *to_up = to_gate + width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            const float x = load(gate[i]), open = sigmoid(x), wanted = load(towards[i]);
            store(to_gate + i, wanted * load(up[i]) * open * (1.f + x * (1.f - open)));
            store(to_up + i, wanted * x * open);
        }
    }
}

// x (rows, heads, width) with its own strides of rows and heads; out is contiguous. `sign` -1: the inverse rotation.
template <class T>
void rotated(
    const T *x, const T *cosines, const T *sines, T *out, int64_t rows, int64_t heads, int64_t width, int64_t row_stride,
    int64_t head_stride, float sign) {
#pragma omp parallel for if (many(rows * heads * width))
    for (int64_t row = 0; row < rows; row++)
        for (int64_t head = 0; head < heads; head++)
            turn_row(
                x + row * row_stride + head * head_stride, cosines + row * width, sines + row * width,
                out + (row * heads + head) * width, width, sign);
}

template <class T>
inline float highest(const T *x, int64_t width) {
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < width; i++) most = load(x[i]) > most ? load(x[i]) : most;
    return most;
}

// Log-sum-exp, with the maximum `most` subtracted first.
template <class T>
inline float log_sum_exp_below(const T *x, int64_t width, float most) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) sum += falling_exp(load(x[i]) - most);
    return std::log(sum);
}

template <class T>
void log_sum_exp(const T *x, float *out, int64_t rows, int64_t width, int64_t stride) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        const float most = highest(x + row * stride, width);
        out[row] = most + log_sum_exp_below(x + row * stride, width, most);
    }
}

// The loss of each row's target; in training the logits are overwritten with its gradient.
template <class T>
void cross_entropy(T *logits, const int64_t *targets, float *losses, int64_t rows, int64_t width, int64_t learnt) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        T *x = logits + row * width;
        const int64_t target = targets[row];
        if (target < 0 || target >= width) {
            losses[row] = NAN;
            continue;
        }
        const float most = highest(x, width), rest = log_sum_exp_below(x, width, most);
        const float own = load(x[target]) - most - rest;
        losses[row] = -own;
        if (!learnt) continue;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) store(x + i, falling_exp(load(x[i]) - most - rest));
        store(x + target, std::exp(own) - 1.f);
    }
}

// First argmax of the rows `at` of x, among the places whose bit is set in `allowed` (rows, words of 32), if given.
template <class T>
void highest_place(
    const T *x, const int64_t *at, const uint32_t *allowed, int64_t *out, int64_t rows, int64_t width) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        const T *all = x + at[row] * width;
        const uint32_t *bits = allowed + row * ((width + 31) / 32);
        float most = -INFINITY;
        int64_t place = -1;
        for (int64_t first = 0; first < width; first += 32) {
            const int64_t count = width - first < 32 ? width - first : 32;
            const uint32_t open = (allowed ? bits[first / 32] : ~0u) & ~0u >> (32 - count);
            if (place < 0 && open) place = first + __builtin_ctz(open);  // where all others are NaN
            float own = -INFINITY;
#pragma omp simd reduction(max : own)
            for (int64_t i = 0; i < count; i++) {
                const float value = open >> i & 1 ? load(all[first + i]) : -INFINITY;
                own = value > own ? value : own;
            }
            if (!(own > most)) continue;
            most = own;
            int64_t i = 0;
            while (!(open >> i & 1) || load(all[first + i]) != own) i++;
            place = first + i;
        }
        out[row] = place < 0 ? 0 : place;
    }
}

// Causal softmax in place: of each `length` rows the first attends to prefix + 1 columns, each next one to one more.
template <class T>
void causal_softmax(T *scores, int64_t rows, int64_t length, int64_t prefix, int64_t width, float scale) {
#pragma omp parallel for if (many(rows * width))
    for (int64_t row = 0; row < rows; row++) {
        T *x = scores + row * width;
        const int64_t seen = prefix + row % length + 1, whole = (seen + 15) / 16 * 16;  // whole vectors
        float kept[CAUSAL_WIDTH], most = -INFINITY, sum = 0;
#pragma omp simd
        for (int64_t i = 0; i < seen; i++) kept[i] = load(x[i]);
        for (int64_t i = seen; i < whole; i++) kept[i] = -INFINITY;
#pragma omp simd reduction(max : most)
        for (int64_t i = 0; i < whole; i++) most = kept[i] > most ? kept[i] : most;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < whole; i++) {
            const float below = (kept[i] - most) * scale;
            kept[i] = kept[i] == -INFINITY ? 0.f : falling_exp(below);
            sum += kept[i];
        }
        const float share = 1.f / sum;
#pragma omp simd
        for (int64_t i = 0; i < seen; i++) store(x + i, kept[i] * share);
        memset(x + seen, 0, (width - seen) * sizeof(T));
    }
}

}  // namespace

#define EXPORTED(T, NAME)                                                                                             \
    extern "C" void rms_norm_##NAME(                                                                                  \
        const T *x, const T *weight, T *out, float *scales, int64_t rows, int64_t width, float eps) {                 \
        rms_norm(x, weight, out, scales, rows, width, eps);                                                           \
    }                                                                                                                 \
    extern "C" void rms_norm_back_##NAME(                                                                             \
        const T *gradient, const T *x, const T *weight, const float *scales, T *out, int64_t rows, int64_t width) {   \
        rms_norm_back(gradient, x, weight, scales, out, rows, width);                                                 \
    }                                                                                                                 \
    extern "C" void gated_##NAME(const T *gate_up, T *out, int64_t rows, int64_t width) {                             \
        gated(gate_up, out, rows, width);                                                                             \
    }                                                                                                                 \
    extern "C" void gated_back_##NAME(const T *gradient, const T *gate_up, T *out, int64_t rows, int64_t width) {     \
        gated_back(gradient, gate_up, out, rows, width);                                                              \
    }                                                                                                                 \
    extern "C" void rotated_##NAME(                                                                                   \
        const T *x, const T *cosines, const T *sines, T *out, int64_t rows, int64_t heads, int64_t width,             \
        int64_t row_stride, int64_t head_stride, float sign) {                                                        \
        rotated(x, cosines, sines, out, rows, heads, width, row_stride, head_stride, sign);                           \
    }                                                                                                                 \
    extern "C" void log_sum_exp_##NAME(const T *x, float *out, int64_t rows, int64_t width, int64_t stride) {         \
        log_sum_exp(x, out, rows, width, stride);                                                                     \
    }                                                                                                                 \
    extern "C" void cross_entropy_##NAME(                                                                             \
        T *logits, const int64_t *targets, float *losses, int64_t rows, int64_t width, int64_t learnt) {              \
        cross_entropy(logits, targets, losses, rows, width, learnt);                                                  \
    }                                                                                                                 \
    extern "C" void highest_place_##NAME(                                                                             \
        const T *x, const int64_t *at, const uint32_t *allowed, int64_t *out, int64_t rows, int64_t width) {          \
        highest_place(x, at, allowed, out, rows, width);                                                              \
    }                                                                                                                 \
    extern "C" void causal_softmax_##NAME(                                                                            \
        T *scores, int64_t rows, int64_t length, int64_t prefix, int64_t width, float scale) {                        \
        causal_softmax(scores, rows, length, prefix, width, scale);                                                   \
    }

EXPORTED(bf16, bf16)
EXPORTED(float, float32)
