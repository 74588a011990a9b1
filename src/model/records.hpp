// Manifests, layouts and placements as bytes: canonical (equal values give equal bytes), versioned, read with bounds.
#pragma once

#include "base/bytes.hpp"
#include "wsync/model/placement.hpp"

namespace wsync {

[[nodiscard]] Bytes encode(const Manifest& manifest);
[[nodiscard]] Result<Manifest> decode_manifest(std::span<const std::byte> bytes);
[[nodiscard]] Bytes encode(const Layout& layout);
[[nodiscard]] Result<Layout> decode_layout(std::span<const std::byte> bytes);
[[nodiscard]] Bytes encode(const Placement& placement);
[[nodiscard]] Result<Placement> decode_placement(std::span<const std::byte> bytes);

}  // namespace wsync
