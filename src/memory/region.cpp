#include "memory/region.hpp"

namespace wsync {

std::string_view name_of(MemoryKind kind) noexcept {
    switch (kind) {
        case MemoryKind::host: return "host";
        case MemoryKind::shared: return "shared";
        case MemoryKind::file: return "file";
        case MemoryKind::device: return "device";
    }
    return "unknown";
}

}  // namespace wsync
