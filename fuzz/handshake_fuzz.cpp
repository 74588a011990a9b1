// Handshakes and shm attachments come from strangers: any bytes give a message that encodes to them again, or an Error.
#include "record_check.hpp"
#include "transport/shm/attach_frames.hpp"
#include "transport/wire/handshake_codec.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto bytes = std::as_bytes(std::span(data, size));
    fuzz::check_record(bytes, decode_handshake(bytes));
    fuzz::check_record(bytes, shm::decode_request(bytes));
    fuzz::check_record(bytes, shm::decode_grant(bytes));
    return 0;
}
