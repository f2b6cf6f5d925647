// A decoding step: few tokens through the layers of a Llama-like model, in one call. fused_step.py fills the structures
// from a `FusedDecoder`, which computes the same in PyTorch's operations.
//
// All threads of a team go through all layers together; what each does is a row, a head of a row, or a block of outputs.

// Compiled by GCC for CPUs with vectors of 64 bytes, and empty elsewhere.

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9

#include <vector>

#include "products.h"
#include "rows.h"

namespace {

// Linear layers with the same input as one: up to three weights (outs, ins), or one packed weight, an optional bias, and
// a low-rank addition: down (ranks, ins) and up (all outs, ranks).
template <class T>
struct Linear {
    const T *weights[3];
    int64_t outs[3];
    const T *bias, *down, *up;
    int64_t ins, ranks;
};

// Norms, products, and keys and values: in slots (places, key heads, size), and of the shared prefix: both (key heads,
// size, columns), packed ones with keys (key heads, columns, size); columns are padded to a multiple of 32.
template <class T>
struct Layer {
    const T *before, *between, *of_query, *of_key;
    Linear<T> reading, out, gate_up, down;
    T *keys, *values;
    const T *keys_ahead, *values_ahead;
};

// For each token: its place among the slots, the first place of its row, and to how many of the row's columns it attends;
// `among` (tokens, fresh) is the mask of the columns after these. `tiled`: weights and prefix are packed.
template <class T>
struct Pass {
    int64_t tokens, layers, width, inner, heads, key_heads, size, ahead, fresh, tiled;
    float eps, scaling;
    const Layer<T> *layer;
    const T *norm;
    T *x;
    const T *cosines, *sines;
    const int64_t *place, *first, *whole;
    const uint8_t *among;

    int64_t heads_of_all() const { return heads + 2 * key_heads; }
};

// Buffers between products, for all tokens.
template <class T>
struct Between {
    std::vector<T> normed, heads, seen, gate_up, gated, low;
    std::vector<float> ahead;

    explicit Between(const Pass<T> &pass) {
        int64_t ranks = 0, tokens = (pass.tokens + 31) / 32 * 32;  // as many rows as tiles may read
        for (const Layer<T> *layer = pass.layer; layer < pass.layer + pass.layers; layer++)
            for (const Linear<T> *linear : {&layer->reading, &layer->out, &layer->gate_up, &layer->down})
                ranks = std::max(ranks, linear->ranks);
        const int64_t attended = pass.heads * pass.size;
        normed.resize(tokens * pass.width);
        heads.resize(tokens * pass.heads_of_all() * pass.size);
        seen.resize(tokens * attended);
        ahead.resize(pass.ahead ? tokens * pass.heads * (pass.size + 2) : 0);
        gate_up.resize(tokens * 2 * pass.inner);
        gated.resize(tokens * pass.inner);
        low.resize(tokens * ranks);
    }
};

// x (tokens, ins) to y (tokens, outs), added to `onto` if given, which may be y.
template <class T>
void apply(const Pass<T> &pass, const Linear<T> &linear, const T *x, Between<T> &between, T *y, const T *onto) {
    const int64_t ins = linear.ins, ranks = linear.ranks, tokens = pass.tokens;
    T *low = between.low.data();
    const T *bias = linear.bias;
    if (ranks) {
        const Term<T> down = {linear.down, ins, x, ins, linear.down + 8 * ins};
        product(pass.tiled, &down, 1, ranks, tokens, [=](int64_t token, int64_t rank, const float *sums, auto count) {
            put_sums<T>(sums, count, nullptr, nullptr, low + token * ranks + rank);
        });
#pragma omp barrier
    }
    int64_t first = 0, all = linear.outs[0] + linear.outs[1] + linear.outs[2];
    for (int part = 0; part < 3 && linear.outs[part]; first += linear.outs[part++]) {
        const T *weights = linear.weights[part], *up = linear.up + first * ranks;
        const Term<T> terms[] = {{weights, ins, x, ins, weights + 8 * ins}, {up, ranks, low, ranks, up + 8 * ranks}};
        product(pass.tiled, terms, ranks ? 2 : 1, linear.outs[part], tokens,
            [=](int64_t token, int64_t out, const float *sums, auto count) {
                const int64_t at = token * all + first + out;
                put_sums(sums, count, bias ? bias + first + out : nullptr, onto ? onto + at : nullptr, y + at);
            });
    }
#pragma omp barrier
}

// Rotates queries in place, and keys while they are copied to the slots, with the values.
template <class T>
void place_heads(const Pass<T> &pass, const Layer<T> &layer, T *all_heads) {
    const int64_t size = pass.size, kept = pass.key_heads * size;
#pragma omp for
    for (int64_t token = 0; token < pass.tokens; token++) {
        T *heads = all_heads + token * pass.heads_of_all() * size;
        const T *cosine = pass.cosines + token * size, *sine = pass.sines + token * size;
        for (int64_t head = 0; head < pass.heads + pass.key_heads; head++) {
            T *from = heads + head * size, *to = from;
            const T *weight = head < pass.heads ? layer.of_query : layer.of_key;
            if (weight) norm_row(from, weight, from, size, pass.eps);
            if (head >= pass.heads) to = layer.keys + pass.place[token] * kept + (head - pass.heads) * size;
            turn_row(from, cosine, sine, to, size, 1.f);
        }
        memcpy(layer.values + pass.place[token] * kept, heads + (pass.heads + pass.key_heads) * size, kept * sizeof(T));
    }
}

// The maximum of a query's scores, and the sum of their exponentials relative to it.
struct Weight {
    float most, sum;
};

// Scores become weights that are not yet divided by their sum.
inline Weight weigh(float *scores, int64_t width, float scaling) {
    float most = -INFINITY, sum = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < width; i++) most = scores[i] > most ? scores[i] : most;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) {
        scores[i] = scores[i] == -INFINITY ? 0.f : falling_exp((scores[i] - most) * scaling);
        sum += scores[i];
    }
    return {most, sum};
}

// Buffers of a thread for attention.
template <class T>
struct Desk {
    std::vector<T> queries, weights;
    std::vector<float> scores;
};

// Scores of queries (count, size) with keys (size, columns): vectors of columns, so that no vector is summed. Eight
// queries are read at once, so up to seven more must be allocated.
template <class T>
void score(const T *keys, int64_t columns, const T *queries, int64_t count, int64_t size, float *scores) {
    for (int64_t column = 0; column < columns; column += 32)
        for (int64_t first = 0; first < count; first += 8) {
            lanes sums[8][2] = {};
            for (int64_t i = 0; i < size; i++) {
                const T *key = keys + i * columns + column, *query = queries + first * size + i;
                const lanes low = sixteen(key), high = sixteen(key + 16);
                for (int64_t row = 0; row < 8; row++) {
                    sums[row][0] += load(query[row * size]) * low;
                    sums[row][1] += load(query[row * size]) * high;
                }
            }
            for (int64_t row = 0; row < 8; row++)
                for (int64_t half = 0; half < 2; half++)
                    store_sixteen(scores + (first + row) * columns + column + 16 * half, sums[row][half]);
        }
}

// Attention to the prefix: for each query of each token the weighted values (size), the weights' sum and the highest
// score. Queries of all tokens for one key head are processed sixteen at once.
template <class T>
void attend_ahead(const Pass<T> &pass, const Layer<T> &layer, const T *heads, float *found, Desk<T> &desk) {
    const int64_t size = pass.size, ahead = pass.ahead, padded = (ahead + 31) / 32 * 32;
    const int64_t groups = pass.heads / pass.key_heads, queries = pass.tokens * groups, items = (queries + 15) / 16;
    if (!ahead) return;
    desk.queries.resize(16 * size);
    desk.weights.assign(16 * padded, T{});
    desk.scores.resize(16 * padded);
#pragma omp for
    for (int64_t item = 0; item < pass.key_heads * items; item++) {
        const int64_t head = item / items, first = item % items * 16, count = std::min<int64_t>(queries - first, 16);
        const auto query = [=](int64_t i) {
            return (first + i) / groups * pass.heads + head * groups + (first + i) % groups;
        };
        for (int64_t i = 0; i < count; i++) {
            const T *from = heads + (query(i) + (first + i) / groups * 2 * pass.key_heads) * size;
            memcpy(desk.queries.data() + i * size, from, size * sizeof(T));
        }
        float *scores = desk.scores.data();
        const T *keys = layer.keys_ahead + head * padded * size, *values = layer.values_ahead + head * size * padded;
        if (pass.tiled)
            product_alone(true, Term<T>{keys, size, desk.queries.data(), size, keys + 4 * size}, ahead, count,
                [=](int64_t row, int64_t column, const float *sums, auto n) {
                    memcpy(scores + row * padded + column, sums, n * sizeof(float));
                });
        else
            score(keys, padded, desk.queries.data(), count, size, scores);
        for (int64_t i = 0; i < count; i++) {
            const Weight weight = weigh(scores + i * padded, ahead, pass.scaling);
            for (int64_t at = 0; at < ahead; at++) store(desk.weights.data() + i * padded + at, scores[i * padded + at]);
            found[query(i) * (size + 2) + size] = weight.sum;
            found[query(i) * (size + 2) + size + 1] = weight.most;
        }
        product_alone(
            pass.tiled, Term<T>{values, padded, desk.weights.data(), padded, values + 4 * padded}, size, count,
            [=](int64_t row, int64_t at, const float *sums, auto n) {
                memcpy(found + query(row) * (size + 2) + at, sums, n * sizeof(float));
            });
    }
}

// Keys and values of one head, column by column; after `whole` ones, those of `fresh` more that `among` allows.
template <class T>
struct Columns {
    const T *keys, *values;
    int64_t apart, whole, fresh;
    const uint8_t *among;
};

// Up to four queries (count, size) attend to the same columns; their attention to the prefix, `ahead`, is added.
template <class T>
void look(
    const T *queries, int64_t count, int64_t size, const Columns<T> &columns, float scaling, const float *ahead,
    std::vector<float> &room, T *to) {
    const int64_t width = columns.whole + columns.fresh;
    room.resize(4 * width);
    float *scores = room.data();
    const Term<T> term = {columns.keys, columns.apart, queries, size, columns.values};
    dots(&term, 1, 0, width, count, [=](int64_t query, int64_t column, const float *sums, auto n) {
        memcpy(scores + query * width + column, sums, n * sizeof(float));
    });
    float shares[4][2] = {};
    for (int64_t query = 0; query < count; query++) {
        float *own = scores + query * width;
        for (int64_t i = 0; i < columns.fresh; i++)
            if (!columns.among[i]) own[columns.whole + i] = -INFINITY;
        const Weight weight = weigh(own, width, scaling);
        shares[query][0] = 1 / weight.sum;
        if (!ahead) continue;
        const float sum = ahead[query * (size + 2) + size], most = ahead[query * (size + 2) + size + 1];
        const float highest = std::max(most, weight.most);
        const float own_share = falling_exp((weight.most - highest) * scaling);
        const float share = falling_exp((most - highest) * scaling), all = own_share * weight.sum + share * sum;
        shares[query][0] = own_share / all;
        shares[query][1] = share / all;
    }
    counted(count, [&](auto some) {
        const int COUNT = decltype(some)::value;
        for (int64_t at = 0; at < size; at += 32) {
            lanes mixed[COUNT][2] = {};
            for (int64_t column = 0; column < width; column++) {
                const T *value = columns.values + column * columns.apart + at;
                const lanes low = sixteen(value), high = sixteen(value + 16);
                __builtin_prefetch(columns.keys + column * columns.apart + size + at);  // what is read next
                for (int query = 0; query < COUNT; query++) {
                    mixed[query][0] += scores[query * width + column] * low;
                    mixed[query][1] += scores[query * width + column] * high;
                }
            }
            for (int query = 0; query < COUNT; query++)
                for (int i = 0; i < 32; i++) {
                    const float before = ahead ? ahead[query * (size + 2) + at + i] * shares[query][1] : 0.f;
                    store(to + query * size + at + i, mixed[query][i / 16][i % 16] * shares[query][0] + before);
                }
        }
    });
}

template <class T>
void attend(const Pass<T> &pass, const Layer<T> &layer, const T *heads, const float *ahead, T *seen, Desk<T> &desk) {
    const int64_t size = pass.size, groups = pass.heads / pass.key_heads, kept = pass.key_heads * size;
#pragma omp for
    for (int64_t item = 0; item < pass.tokens * pass.key_heads; item++) {
        const int64_t token = item / pass.key_heads, head = item % pass.key_heads;
        const int64_t at = pass.first[token] * kept + head * size;
        const Columns<T> columns = {
            layer.keys + at, layer.values + at, kept, pass.whole[token], pass.fresh, pass.among + token * pass.fresh};
        for (int64_t group = 0; group < groups; group += 4) {
            const int64_t query = token * pass.heads + head * groups + group;
            look(
                heads + (query + token * 2 * pass.key_heads) * size, std::min<int64_t>(groups - group, 4), size, columns,
                pass.scaling, pass.ahead ? ahead + query * (size + 2) : nullptr, desk.scores, seen + query * size);
        }
    }
}

template <class T>
void norm(const T *x, const T *weight, T *to, const Pass<T> &pass) {
#pragma omp for
    for (int64_t token = 0; token < pass.tokens; token++)
        norm_row(x + token * pass.width, weight, to + token * pass.width, pass.width, pass.eps);
}

template <class T>
void step(const Pass<T> &pass) {
    Between<T> between(pass);
    T *x = pass.x, *normed = between.normed.data(), *heads = between.heads.data(), *seen = between.seen.data();
    T *gate_up = between.gate_up.data(), *gated = between.gated.data();
    const int64_t tokens = pass.tokens, inner = pass.inner;
#pragma omp parallel
    {
        const Tiles tiles(pass.tiled);
        Desk<T> desk;
        for (const Layer<T> *layer = pass.layer; layer < pass.layer + pass.layers; layer++) {
            norm(x, layer->before, normed, pass);
            apply(pass, layer->reading, normed, between, heads, (const T *)nullptr);
            place_heads(pass, *layer, heads);
            attend_ahead(pass, *layer, heads, between.ahead.data(), desk);
            attend(pass, *layer, heads, between.ahead.data(), seen, desk);
            apply(pass, layer->out, seen, between, x, x);
            norm(x, layer->between, normed, pass);
            apply(pass, layer->gate_up, normed, between, gate_up, (const T *)nullptr);
#pragma omp for
            for (int64_t token = 0; token < tokens; token++) {
                const T *gate = gate_up + token * 2 * inner;
                gate_row(gate, gate + inner, gated + token * inner, inner);
            }
            apply(pass, layer->down, gated, between, x, x);
        }
        norm(x, pass.norm, x, pass);
    }
}

}  // namespace

#ifdef BF16_PRODUCTS
extern "C" void step_bf16(const Pass<bf16> *pass) { step(*pass); }
#endif
extern "C" void step_float32(const Pass<float> *pass) { step(*pass); }

#endif
