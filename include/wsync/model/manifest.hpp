// What the weights are: an ordered list of named, typed, shaped tensors, its invariants proved at construction.
#pragma once

#include "wsync/base/digest.hpp"
#include "wsync/base/result.hpp"
#include "wsync/model/dims.hpp"
#include "wsync/model/dtype.hpp"

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace wsync {

struct TensorSpec {
    std::string name;  // Hugging Face checkpoint name, 1 to 1024 bytes of UTF-8 without NUL
    DType dtype = DType::f32;
    Dims shape;        // in elements; rank 0 is a scalar, a zero extent an empty tensor

    // Whole bytes of the tensor, packed row-major. Of a TensorSpec inside a Manifest this can't fail.
    [[nodiscard]] std::uint64_t elements() const noexcept;
    [[nodiscard]] std::uint64_t bytes() const noexcept;
    friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

class Manifest {
public:
    Manifest() = default;
    // Proves: unique non-empty names, extents and bytes that fit in 63 bits each and in total, whole bytes.
    // Error{invalid_argument} names the tensor and the rule.
    [[nodiscard]] static Result<Manifest> make(std::vector<TensorSpec> tensors);

    [[nodiscard]] const std::vector<TensorSpec>& tensors() const noexcept { return tensors_; }
    [[nodiscard]] std::size_t size() const noexcept { return tensors_.size(); }
    [[nodiscard]] const TensorSpec& operator[](std::size_t index) const noexcept { return tensors_[index]; }
    [[nodiscard]] std::optional<std::uint32_t> find(std::string_view name) const;
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    [[nodiscard]] std::uint64_t parameters() const noexcept { return parameters_; }
    // Of names, types, shapes and their order.
    [[nodiscard]] const Digest& digest() const noexcept { return digest_; }
    friend bool operator==(const Manifest& a, const Manifest& b) { return a.tensors_ == b.tensors_; }

private:
    std::vector<TensorSpec> tensors_;
    std::unordered_map<std::string, std::uint32_t> index_;
    std::uint64_t bytes_ = 0;
    std::uint64_t parameters_ = 0;
    Digest digest_{};
};

}  // namespace wsync
