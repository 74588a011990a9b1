#include "measure/synthetic_weights.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace wsync {
namespace {

constexpr std::size_t kQuantiles = 1 << 14;

// Quantiles of the standard normal distribution at the middles of equal steps, by bisection of its distribution function.
std::array<float, kQuantiles> make_quantiles() {
    std::array<float, kQuantiles> table{};
    for (std::size_t i = 0; i < kQuantiles; ++i) {
        const double p = (static_cast<double>(i) + 0.5) / kQuantiles;
        double low = -6, high = 6;
        for (int step = 0; step < 40; ++step) {
            const double middle = (low + high) / 2;
            (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
        }
        table[i] = static_cast<float>(low);
    }
    return table;
}

const std::array<float, kQuantiles>& quantiles() {
    static const auto table = make_quantiles();  // a constant, not a state
    return table;
}

// SplitMix64: small, fast, and good enough to draw weights from.
struct Random {
    std::uint64_t state;
    std::uint64_t next() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
};

std::uint16_t to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Normal numbers of half precision only: what is too small becomes zero.
std::uint16_t to_f16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const int exponent = static_cast<int>((bits >> 23) & 0xff) - 127;
    if (exponent < -14) return static_cast<std::uint16_t>((bits >> 16) & 0x8000);
    return static_cast<std::uint16_t>(((bits >> 16) & 0x8000) | (static_cast<std::uint32_t>(exponent + 15) << 10) | ((bits >> 13) & 0x3ff));
}

template <class Element, class Encode>
void fill(std::span<std::byte> bytes, Random random, float scale, float mean, Encode encode) {
    const auto& table = quantiles();
    const std::size_t count = bytes.size() / sizeof(Element);
    std::array<Element, 4> four{};
    for (std::size_t i = 0; i < count; i += 4) {
        const auto drawn = random.next();
        for (int k = 0; k < 4; ++k) four[k] = encode(mean + scale * table[(drawn >> (16 * k)) & (kQuantiles - 1)]);
        std::memcpy(bytes.data() + i * sizeof(Element), four.data(), std::min<std::size_t>(4, count - i) * sizeof(Element));
    }
}

}  // namespace

void fill_trained(const TensorSpec& spec, std::uint64_t seed, std::span<std::byte> bytes) {
    const auto name = digest_of(std::as_bytes(std::span(spec.name)));
    std::uint64_t own = 0;
    std::memcpy(&own, name.bytes.data(), sizeof own);
    Random random{seed ^ own};
    const bool matrix = spec.shape.size() >= 2;
    const auto fan_in = matrix ? static_cast<double>(spec.shape[spec.shape.size() - 1]) : 1.0;
    const float scale = matrix ? static_cast<float>(1.0 / std::sqrt(std::max(1.0, fan_in))) : 0.02f;
    const float mean = matrix ? 0.0f : 1.0f;
    switch (spec.dtype) {
        case DType::bf16: fill<std::uint16_t>(bytes, random, scale, mean, to_bf16); break;
        case DType::f16: fill<std::uint16_t>(bytes, random, scale, mean, to_f16); break;
        case DType::f32: fill<float>(bytes, random, scale, mean, [](float v) { return v; }); break;
        case DType::f64: fill<double>(bytes, random, scale, mean, [](float v) { return static_cast<double>(v); }); break;
        case DType::boolean:
            for (auto& byte : bytes) byte = static_cast<std::byte>(random.next() & 1);
            break;
        default:
            for (std::size_t i = 0; i < bytes.size(); i += 8) {
                const auto drawn = random.next();
                std::memcpy(bytes.data() + i, &drawn, std::min<std::size_t>(8, bytes.size() - i));
            }
    }
}

void touch_step(std::span<std::byte> bytes, std::uint64_t step) {
    constexpr std::size_t kEvery = 256 * 1024;
    for (std::size_t i = 0; i < bytes.size(); i += kEvery) bytes[i] = static_cast<std::byte>(step * 31 + i / kEvery);
}

}  // namespace wsync
