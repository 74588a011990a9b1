// Element types of weights: all of safetensors 0.7/0.8, those of less than a byte included.
#pragma once

#include "wsync/base/result.hpp"

#include <cstdint>
#include <string_view>

namespace wsync {

// In the order of safetensors' own enum, which is the order of their alignment.
enum class DType : std::uint8_t {
    boolean, f4, f6_e2m3, f6_e3m2, u8, i8, f8_e5m2, f8_e4m3, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz,
    i16, u16, f16, bf16, i32, u32, f32, c64, f64, i64, u64,
};
inline constexpr int kDTypeCount = 22;

// Bits of one element: 4, 6, 8, 16, 32 or 64.
[[nodiscard]] unsigned bits_of(DType dtype) noexcept;
// The safetensors spelling: "BF16", "F8_E4M3".
[[nodiscard]] std::string_view name_of(DType dtype) noexcept;
// From the safetensors spelling, exactly. Error{unsupported} names the unknown type.
[[nodiscard]] Result<DType> dtype_from_name(std::string_view name);
// From what people type: "bf16", "fp16", "float32", "fp8", "BF16"...; Error{invalid_argument} lists what there is.
[[nodiscard]] Result<DType> dtype_from_alias(std::string_view name);

}  // namespace wsync
