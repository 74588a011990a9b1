// A safetensors file comes from anywhere: any bytes give a header that fits the file exactly, or an Error.
#include "format/safetensors.hpp"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto file = std::as_bytes(std::span(data, size));
    const auto header_bytes = safetensors_header_bytes(file, size);
    if (!header_bytes.has_value()) {
        if (header_bytes.error().code != Code::corrupt) std::abort();
        return 0;
    }
    if (*header_bytes < 10 || *header_bytes > size) std::abort();
    const auto header = parse_safetensors_header(file.first(*header_bytes), size, "fuzzed");
    if (!header.has_value()) {
        if (header.error().code != Code::corrupt && header.error().code != Code::unsupported) std::abort();
        if (header.error().message.find_first_of("\n\r") != std::string::npos) std::abort();
        return 0;
    }
    std::uint64_t at = 0;
    for (std::size_t t = 0; t < header->manifest.size(); ++t) {
        if (header->begins[t] != at) std::abort();
        at += header->manifest[t].bytes();
    }
    if (at != header->data_bytes || header->header_bytes + header->data_bytes != size) std::abort();
    // What was read can be written, and reads the same.
    const auto again = make_safetensors_header(header->manifest, header->metadata, 8).value();
    const auto back = parse_safetensors_header(again, again.size() + at, "rewritten").value();
    if (!(back.manifest == header->manifest) || back.metadata != header->metadata) std::abort();
    return 0;
}
