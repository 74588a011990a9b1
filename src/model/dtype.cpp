#include "wsync/model/dtype.hpp"

#include "model/utf8.hpp"

#include <array>
#include <cctype>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace wsync {
namespace {

struct DTypeFacts {
    std::string_view name;
    unsigned bits;
};

constexpr std::array<DTypeFacts, kDTypeCount> kFacts = {{
    {"BOOL", 8},       {"F4", 4},       {"F6_E2M3", 6},     {"F6_E3M2", 6},     {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},        {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
    {"U32", 32},       {"F32", 32},     {"C64", 64},        {"F64", 64},        {"I64", 64}, {"U64", 64},
}};

constexpr std::pair<std::string_view, DType> kAliases[] = {
    {"bfloat16", DType::bf16},
    {"fp16", DType::f16},
    {"float16", DType::f16},
    {"half", DType::f16},
    {"fp32", DType::f32},
    {"float32", DType::f32},
    {"float", DType::f32},
    {"fp64", DType::f64},
    {"float64", DType::f64},
    {"double", DType::f64},
    {"complex64", DType::c64},
    {"fp8", DType::f8_e4m3},
    {"f8", DType::f8_e4m3},
    {"fp8_e4m3", DType::f8_e4m3},
    {"float8_e4m3fn", DType::f8_e4m3},
    {"fp8_e5m2", DType::f8_e5m2},
    {"float8_e5m2", DType::f8_e5m2},
    {"float8_e4m3fnuz", DType::f8_e4m3fnuz},
    {"float8_e5m2fnuz", DType::f8_e5m2fnuz},
    {"float8_e8m0fnu", DType::f8_e8m0},
    {"fp4", DType::f4},
    {"float4_e2m1fn_x2", DType::f4},
    {"bool", DType::boolean},
    {"boolean", DType::boolean},
    {"int8", DType::i8},
    {"uint8", DType::u8},
    {"int16", DType::i16},
    {"uint16", DType::u16},
    {"int32", DType::i32},
    {"uint32", DType::u32},
    {"int64", DType::i64},
    {"uint64", DType::u64},
};

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

}  // namespace

unsigned bits_of(DType dtype) noexcept { return kFacts[static_cast<std::size_t>(dtype)].bits; }

std::string_view name_of(DType dtype) noexcept { return kFacts[static_cast<std::size_t>(dtype)].name; }

Result<DType> dtype_from_name(std::string_view name) {
    for (std::size_t i = 0; i < kFacts.size(); ++i) {
        if (kFacts[i].name == name) return static_cast<DType>(i);
    }
    return Error{Code::unsupported, fmt::format("unknown dtype {}: wsync knows those of safetensors (BF16, F32, F8_E4M3, ...)", in_quotes(name, 64)), {}};
}

Result<DType> dtype_from_alias(std::string_view name) {
    std::string wanted = lower(name.substr(0, 64));
    if (wanted.rfind("torch.", 0) == 0) wanted.erase(0, 6);
    std::string known;
    for (std::size_t i = 0; i < kFacts.size(); ++i) {
        std::string candidate = lower(kFacts[i].name);
        if (candidate == wanted) return static_cast<DType>(i);
        known += (known.empty() ? "" : ", ") + candidate;
    }
    for (const auto& [alias, dtype] : kAliases) {
        if (alias == wanted) return dtype;
        known += fmt::format(", {}", alias);
    }
    return Error{Code::invalid_argument, fmt::format("unknown dtype {}: give one of {}", in_quotes(name, 64), known), {}};
}

}  // namespace wsync
