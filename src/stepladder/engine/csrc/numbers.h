// Numbers as tensors store them, and in float32.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct bf16 {
    uint16_t bits;
};

inline float load(float x) { return x; }
inline float load(bf16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float found;
    memcpy(&found, &bits, sizeof found);
    return found;
}
inline void store(float *to, float x) { *to = x; }
inline void store(bf16 *to, float x) {  // round to nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    to->bits = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// e^x for x <= 0, by 2^n and the Taylor series of the rest, |rest| <= ln 2 / 2; never below e^-87.
inline float falling_exp(float x) {
    x = x < -87.f ? -87.f : x;
    const float n = std::nearbyint(x * 1.44269504f);
    const float rest = std::fma(n, -0.693359375f, std::fma(n, 2.12194440e-4f, x));
    float sum = 1.f / 5040;
    sum = std::fma(sum, rest, 1.f / 720);
    sum = std::fma(sum, rest, 1.f / 120);
    sum = std::fma(sum, rest, 1.f / 24);
    sum = std::fma(sum, rest, 1.f / 6);
    sum = std::fma(sum, rest, 0.5f);
    sum = std::fma(sum, rest, 1.f);
    sum = std::fma(sum, rest, 1.f);
    const uint32_t bits = uint32_t(int32_t(n) + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

inline float sigmoid(float x) {
    const float small = falling_exp(-std::fabs(x));
    return (x < 0 ? small : 1.f) / (1.f + small);
}

}  // namespace
