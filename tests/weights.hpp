// Weights for tests: every byte is a function of tensor name, position and version, so that a wrong byte is seen.
#pragma once

#include "wsync/base/digest.hpp"
#include "wsync/session/session.hpp"

#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

namespace wsync::testing {

// The packed bytes of one box of a tensor (whole-byte types of `spec`).
inline std::vector<std::byte> box_bytes(const TensorSpec& spec, const Box& box, std::uint64_t version) {
    const auto item = bits_of(spec.dtype) / 8;
    const auto seed = std::hash<std::string_view>{}(spec.name) ^ (version * 0x9e3779b97f4a7c15ull);
    std::vector<std::byte> bytes(box.bytes(spec.dtype));
    const auto outer = box.size.empty() ? 0 : box.size.size() - 1;
    const auto row_bytes = (box.size.empty() ? 1 : box.size[outer]) * item;
    std::vector<std::uint64_t> at(outer, 0);
    auto* next = bytes.data();
    for (auto* const end = next + bytes.size(); next != end;) {
        std::uint64_t flat = 0;  // of the row's first element in the tensor
        for (std::size_t d = 0; d < outer; ++d) flat = flat * spec.shape[d] + box.offset[d] + at[d];
        if (!box.size.empty()) flat = flat * spec.shape[outer] + box.offset[outer];
        auto position = flat * item + seed;
        for (auto* const row_end = next + row_bytes; next != row_end; ++next, ++position) *next = static_cast<std::byte>((position * 0x2545f4914f6cdd1dull) >> 56);
        for (std::size_t d = outer; d-- > 0;) {
            if (++at[d] < box.size[d]) break;
            at[d] = 0;
        }
    }
    return bytes;
}

inline Manifest small_model() {
    return Manifest::make({
                              {"model.embed_tokens.weight", DType::bf16, {1000, 64}},
                              {"model.layers.0.self_attn.q_proj.weight", DType::bf16, {64, 64}},
                              {"model.layers.0.self_attn.k_proj.weight", DType::bf16, {16, 64}},
                              {"model.layers.0.mlp.down_proj.weight", DType::f32, {64, 171}},
                              {"model.layers.0.conv", DType::f16, {6, 5, 4, 3}},
                              {"model.layers.0.mlp.twin_a", DType::bf16, {600, 1024}},
                              {"model.layers.0.mlp.twin_b", DType::bf16, {600, 1024}},
                              {"model.norm.weight", DType::f32, {64}},
                              {"model.scale", DType::f32, {}},
                              {"model.empty", DType::bf16, {0, 64}},
                          })
        .value();
}

// Every shard that `publisher`'s rank holds, written as `version` and published.
inline Result<Version> publish_version(Publisher& publisher, const Layout& layout, std::uint64_t version, std::uint64_t step) {
    WSYNC_TRY(auto write, publisher.begin_write());
    for (std::size_t i = 0; i < write.size(); ++i) {
        const auto shard = write.shard(i);
        const auto& spec = layout.manifest()[*layout.manifest().find(shard.name)];
        const auto bytes = box_bytes(spec, shard.box, version);
        // Half through the digesting copy, half straight into the slab.
        if (i % 2 == 0) {
            WSYNC_TRY_VOID(write.copy(i, bytes));
        } else {
            std::copy(bytes.begin(), bytes.end(), shard.bytes.begin());
        }
    }
    return publisher.publish(std::move(write), {.step = step});
}

inline ::testing::AssertionResult holds_version(const TensorRange& tensors, const Manifest& manifest, std::uint64_t version, std::size_t expected_tensors) {
    if (tensors.size() != expected_tensors) return ::testing::AssertionFailure() << tensors.size() << " tensors, expected " << expected_tensors;
    for (const auto tensor : tensors) {
        const auto& spec = manifest[*manifest.find(tensor.name)];
        const auto expected = box_bytes(spec, tensor.box, version);
        if (!std::equal(expected.begin(), expected.end(), tensor.bytes.begin(), tensor.bytes.end())) {
            return ::testing::AssertionFailure() << tensor.name << " " << tensor.box.to_string() << " is not of version " << version;
        }
    }
    return ::testing::AssertionSuccess();
}

}  // namespace wsync::testing
