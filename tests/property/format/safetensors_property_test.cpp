#include "format/safetensors.hpp"
#include "format/safetensors_index.hpp"

#include "result_matchers.hpp"

#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace wsync {
namespace {

// Text of any Unicode character, the awkward ones often.
std::string random_text(std::size_t max_characters) {
    const auto length = *rc::gen::inRange<std::size_t>(0, max_characters + 1);
    std::string text;
    for (std::size_t i = 0; i < length; ++i) {
        text += *rc::gen::weightedElement<std::string>({{20, "a"}, {10, "."}, {5, "7"}, {3, "\""}, {3, "\\"}, {2, "/"}, {2, "\n"}, {1, "\x01"}, {1, "\x7f"}, {2, "\u00e9"}, {2, "\u6f22"}, {2, "\U0001F600"}, {1, "\u2028"}});
    }
    return text;
}

Manifest random_manifest() {
    const auto count = *rc::gen::inRange(0, 20);
    std::vector<TensorSpec> tensors;
    for (int i = 0; i < count; ++i) {
        const auto dtype = static_cast<DType>(*rc::gen::inRange(0, kDTypeCount));
        const auto rank = *rc::gen::inRange<std::size_t>(bits_of(dtype) < 8 ? 1 : 0, kMaxRank + 1);
        Dims shape(rank, 1);
        for (std::size_t d = 0; d < rank; ++d) shape[d] = *rc::gen::inRange<std::uint64_t>(0, 5);
        if (bits_of(dtype) < 8) shape[rank - 1] *= 4;
        tensors.push_back({std::to_string(i) + random_text(12), dtype, shape});
    }
    return Manifest::make(std::move(tensors)).value();
}

RC_GTEST_PROP(Safetensors, HeaderRoundTrip, ()) {
    const auto manifest = random_manifest();
    SafetensorsMetadata metadata;
    for (int i = *rc::gen::inRange(0, 4); i > 0; --i) metadata[random_text(6)] = random_text(20);
    const std::uint64_t alignment = std::uint64_t{1} << *rc::gen::inRange(3, 13);
    const auto header = make_safetensors_header(manifest, metadata, alignment).value();
    RC_ASSERT(header.size() % alignment == 0);
    const auto parsed = parse_safetensors_header(header, header.size() + manifest.bytes(), "x");
    RC_ASSERT(parsed.has_value());
    RC_ASSERT(parsed->metadata == metadata);
    RC_ASSERT(parsed->header_bytes == header.size());
    RC_ASSERT(parsed->data_bytes == manifest.bytes());
    RC_ASSERT(parsed->manifest.bytes() == manifest.bytes());
    RC_ASSERT(parsed->manifest == manifest);
    std::uint64_t begin = 0;
    for (std::size_t t = 0; t < manifest.size(); ++t) {
        RC_ASSERT(parsed->begins[t] == begin);
        begin += manifest[t].bytes();
    }
}

RC_GTEST_PROP(Safetensors, DamageIsAnErrorOrAnotherHeader, ()) {
    const auto manifest = random_manifest();
    auto header = make_safetensors_header(manifest, {{"k", "v"}}, 8).value();
    for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
        const auto at = *rc::gen::inRange<std::size_t>(8, header.size());
        header[at] = static_cast<std::byte>(*rc::gen::inRange(0, 256));
    }
    const auto parsed = parse_safetensors_header(header, header.size() + manifest.bytes(), "x");
    if (parsed.has_value()) {
        RC_ASSERT(parsed->manifest.bytes() == manifest.bytes());
    } else {
        RC_ASSERT(parsed.error().code == Code::corrupt || parsed.error().code == Code::unsupported);
    }
}

RC_GTEST_PROP(Safetensors, OrderAlignsEveryTensor, ()) {
    const auto manifest = random_manifest();
    const auto order = safetensors_order(manifest);
    std::vector<bool> seen(manifest.size(), false);
    std::uint64_t begin = 0;
    for (std::uint32_t t : order) {
        RC_ASSERT(!seen[t]);
        seen[t] = true;
        RC_ASSERT(begin % std::max(1U, bits_of(manifest[t].dtype) / 8) == 0U);
        begin += manifest[t].bytes();
    }
    RC_ASSERT(order.size() == manifest.size());
}

RC_GTEST_PROP(SafetensorsIndex, RoundTrip, ()) {
    SafetensorsIndex index;
    if (*rc::gen::arbitrary<bool>()) index.total_size = *rc::gen::arbitrary<std::uint64_t>();
    for (int i = *rc::gen::inRange(0, 10); i > 0; --i) index.weight_map[std::to_string(i) + random_text(8)] = "f" + std::to_string(i % 3) + ".safetensors";
    RC_ASSERT(parse_safetensors_index(make_safetensors_index(index).value(), "x").value() == index);
}

}  // namespace
}  // namespace wsync
