#include "format/safetensors.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

namespace wsync {
namespace {

constexpr std::uint64_t kMaxAlignment = 1U << 20;

Error bad(std::string message) { return Error{Code::invalid_argument, "safetensors header: " + std::move(message)}; }

// A JSON string. Precondition: UTF-8.
void append_string(fmt::memory_buffer& out, const std::string& text) {
    const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\'; });
    if (plain) {
        fmt::format_to(std::back_inserter(out), "\"{}\"", text);
    } else {
        fmt::format_to(std::back_inserter(out), "{}", nlohmann::json(text).dump());
    }
}

}  // namespace

std::vector<std::uint32_t> safetensors_order(const Manifest& manifest) {
    std::vector<std::uint32_t> order(manifest.size());
    std::iota(order.begin(), order.end(), 0U);
    auto element_bytes = [&](std::uint32_t t) { return std::max(1U, bits_of(manifest[t].dtype) / 8); };
    std::uint64_t begin = 0;
    bool aligned = true;
    for (std::uint32_t t : order) {
        aligned = aligned && begin % element_bytes(t) == 0;
        begin += manifest[t].bytes();
    }
    if (!aligned) std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return element_bytes(a) > element_bytes(b); });
    return order;
}

Result<Bytes> make_safetensors_header(const Manifest& manifest, const SafetensorsMetadata& metadata, std::uint64_t alignment) {
    if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
        return bad(fmt::format("an alignment of {} is not a power of two from 8 to {}", alignment, kMaxAlignment));
    }
    if (manifest.find("__metadata__")) return bad("a tensor can't be named \"__metadata__\": the format reserves the name");
    try {
        fmt::memory_buffer out;
        out.append(std::string_view("\0\0\0\0\0\0\0\0{", 9));
        std::string_view separator;
        if (!metadata.empty()) {
            out.append(std::string_view("\"__metadata__\":{"));
            for (const auto& [key, value] : metadata) {
                if (!is_utf8(key) || !is_utf8(value)) return bad(fmt::format("the metadata of key {} is not UTF-8", in_quotes(key)));
                out.append(separator);
                append_string(out, key);
                out.push_back(':');
                append_string(out, value);
                separator = ",";
            }
            out.push_back('}');
            separator = ",";
        }
        std::uint64_t begin = 0;
        for (const TensorSpec& tensor : manifest.tensors()) {
            out.append(separator);
            append_string(out, tensor.name);
            const std::uint64_t end = begin + tensor.bytes();
            fmt::format_to(std::back_inserter(out), ":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", name_of(tensor.dtype),
                           fmt::join(tensor.shape.begin(), tensor.shape.end(), ","), begin, end);
            begin = end;
            separator = ",";
        }
        out.push_back('}');
        while (out.size() % alignment != 0) out.push_back(' ');
        const std::uint64_t length = out.size() - kSafetensorsLengthBytes;
        if (length > kMaxSafetensorsHeaderBytes) {
            return bad(fmt::format("{} tensors need a header of {} bytes, the format's limit is {}: write more than one file", manifest.size(), length,
                                   kMaxSafetensorsHeaderBytes));
        }
        for (std::size_t i = 0; i < kSafetensorsLengthBytes; ++i) out[i] = static_cast<char>(length >> (8 * i) & 0xFF);
        const auto bytes = as_bytes_of(std::string_view(out.data(), out.size()));
        return Bytes(bytes.begin(), bytes.end());
    } catch (const std::exception& failure) {
        return Error{Code::resource_exhausted, fmt::format("safetensors header: {}", failure.what())};
    }
}

}  // namespace wsync
