// The control plane's records come from whoever can write there: any bytes give a record that encodes to them again, or an
// Error.
#include "record_check.hpp"
#include "sync/group_records.hpp"
#include "sync/records.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto bytes = std::as_bytes(std::span(data, size));
    fuzz::check_record(bytes, decode_epoch(bytes));
    fuzz::check_record(bytes, decode_rank(bytes));
    fuzz::check_record(bytes, decode_publication(bytes));
    fuzz::check_record(bytes, decode_head(bytes));
    fuzz::check_record(bytes, decode_group_round(bytes));
    fuzz::check_record(bytes, decode_group_member(bytes));
    return 0;
}
