// A descriptor comes from another process: any bytes give an absolute path and a region inside the file, or an Error.
#include "transport/file/file_descriptor.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto identity = file_transport::decode({"file", Bytes(bytes.begin(), bytes.end())});
    if (!identity.has_value()) return 0;
    if (identity->path.empty() || identity->path.front() != '/') std::abort();
    if (identity->offset > identity->file_bytes || identity->bytes > identity->file_bytes - identity->offset) std::abort();
    const auto again = file_transport::decode(file_transport::encode(*identity));
    if (!again.has_value() || !(*again == *identity)) std::abort();
    return 0;
}
