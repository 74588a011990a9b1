// model.safetensors.index.json: which file of a sharded checkpoint holds which tensor. Pure, no I/O.
#pragma once

#include "wsync/base/result.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

inline constexpr std::string_view kSafetensorsIndexName = "model.safetensors.index.json";
inline constexpr std::uint64_t kMaxSafetensorsIndexBytes = 100'000'000;

struct SafetensorsIndex {
    std::optional<std::uint64_t> total_size;        // bytes of all tensors; some writers leave it out
    std::map<std::string, std::string> weight_map;  // tensor -> file, in the folder of the index
    // Each once, in order.
    [[nodiscard]] std::vector<std::string> files() const;
    friend bool operator==(const SafetensorsIndex&, const SafetensorsIndex&) = default;
};

// A file name that leads nowhere but into its own folder: no '/', no "..", no control characters, 1 to 255 bytes.
[[nodiscard]] bool is_plain_file_name(std::string_view name) noexcept;

// Error{corrupt} says what is wrong where; file names must be plain. Other keys with simple values are passed over.
[[nodiscard]] Result<SafetensorsIndex> parse_safetensors_index(std::string_view text, std::string_view file_name);
// As Hugging Face writes it: sorted, indented by two. Error{invalid_argument} for names that parse would refuse.
[[nodiscard]] Result<std::string> make_safetensors_index(const SafetensorsIndex& index);

}  // namespace wsync
