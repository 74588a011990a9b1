#include "wsync/model/manifest.hpp"

#include "base/bytes.hpp"
#include "model/records.hpp"
#include "model/utf8.hpp"

#include <fmt/format.h>
#include <limits>

namespace wsync {
namespace {

constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::uint64_t kMax63 = std::numeric_limits<std::int64_t>::max();

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }

Status check_name(const std::string& name, std::size_t position) {
    if (name.empty()) return bad(fmt::format("tensor {} has an empty name: every tensor needs one", position));
    if (name.size() > kMaxNameBytes) {
        return bad(fmt::format("the name of tensor {} has {} bytes, the limit is {}: {}", position, name.size(), kMaxNameBytes, in_quotes(name, 32)));
    }
    if (!is_utf8(name)) return bad(fmt::format("the name of tensor {} is not UTF-8", position));
    if (name.find('\0') != std::string::npos) return bad(fmt::format("the name of tensor {} holds a NUL", position));
    return {};
}

// The tensor's bytes.
Result<std::uint64_t> check_size(const TensorSpec& tensor) {
    std::uint64_t elements = 0;
    if (!checked_product(tensor.shape, elements) || elements > kMax63) {
        return bad(fmt::format("tensor {} of shape {} has more than 2^63 elements", in_quotes(tensor.name), tensor.shape.to_string()));
    }
    for (std::uint64_t extent : tensor.shape) {
        if (extent > kMax63) return bad(fmt::format("tensor {} of shape {} has an extent beyond 2^63", in_quotes(tensor.name), tensor.shape.to_string()));
    }
    const unsigned bits = bits_of(tensor.dtype);
    if (elements % 8 * bits % 8 != 0) {
        return bad(fmt::format("tensor {} of shape {} is not a whole number of bytes: {} elements of {} bits ({})", in_quotes(tensor.name),
                               tensor.shape.to_string(), elements, bits, name_of(tensor.dtype)));
    }
    // elements * bits / 8, without the product.
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(elements / 8, std::uint64_t{bits}, &bytes) || __builtin_add_overflow(bytes, elements % 8 * bits / 8, &bytes) ||
        bytes > kMax63) {
        return bad(fmt::format("tensor {} of shape {} and type {} has more than 2^63 bytes", in_quotes(tensor.name), tensor.shape.to_string(),
                               name_of(tensor.dtype)));
    }
    return bytes;
}

}  // namespace

std::uint64_t TensorSpec::elements() const noexcept {
    std::uint64_t product = 0;
    (void)checked_product(shape, product);
    return product;
}

std::uint64_t TensorSpec::bytes() const noexcept {
    const std::uint64_t n = elements();
    return n / 8 * bits_of(dtype) + n % 8 * bits_of(dtype) / 8;
}

Result<Manifest> Manifest::make(std::vector<TensorSpec> tensors) {
    if (tensors.size() > std::numeric_limits<std::uint32_t>::max()) return bad(fmt::format("{} tensors are too many: the limit is 2^32", tensors.size()));
    Manifest manifest;
    manifest.index_.reserve(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const TensorSpec& tensor = tensors[i];
        WSYNC_TRY_VOID(check_name(tensor.name, i));
        if (static_cast<unsigned>(tensor.dtype) >= kDTypeCount) return bad(fmt::format("tensor {} has no valid dtype", in_quotes(tensor.name)));
        WSYNC_TRY(const std::uint64_t bytes, check_size(tensor));
        manifest.bytes_ += bytes;
        manifest.parameters_ += tensor.elements();
        if (manifest.bytes_ > kMax63 || manifest.parameters_ > kMax63) {
            return bad(fmt::format("the tensors up to {} together pass 2^63 bytes or elements", in_quotes(tensor.name)));
        }
        auto [where, is_new] = manifest.index_.emplace(tensor.name, static_cast<std::uint32_t>(i));
        if (!is_new) return bad(fmt::format("tensor {} is named twice, at {} and {}: names must be unique", in_quotes(tensor.name), where->second, i));
    }
    manifest.tensors_ = std::move(tensors);
    manifest.digest_ = digest_of(encode(manifest));
    return manifest;
}

std::optional<std::uint32_t> Manifest::find(std::string_view name) const {
    auto found = index_.find(std::string(name));
    if (found == index_.end()) return std::nullopt;
    return found->second;
}

}  // namespace wsync
