// The transports that the conformance suite runs over: a new one is one more row in rows.cpp.
#pragma once

#include "base/secret.hpp"
#include "transport/transport.hpp"

#include <functional>
#include <string>
#include <vector>

namespace wsync::testing {

// What both sides of a test share.
struct Setting {
    std::string directory;  // fresh
    Secret secret{};
};

// A region to expose, filled with the content that was asked for.
struct Source {
    Region region;
    std::atomic<std::uint64_t>* generation = nullptr;  // kept alive by `owner`
    std::shared_ptr<void> owner;
};

struct TransportUnderTest {
    std::string name;
    std::function<Result<std::unique_ptr<Transport>>(const Setting&)> make;  // for either side
    std::function<Source(const Setting&, std::span<const std::byte> content)> make_source;

    // What differs between transports by their nature, not by their quality.
    bool exporter_serves = true;         // a read goes on only while the exporter's process runs
    bool attach_asks_exporter = true;    // attach() needs the exporter's process, and the secret
    bool notices_death = true;           // the exporter's death is an Error
    bool checks_generation = true;       // transfers with another generation are corrupt
    bool attachment_is_work = false;     // Exposure::close waits for attached channels, idle ones too
};

[[nodiscard]] std::vector<TransportUnderTest> transport_rows();

// Bytes that differ everywhere: no block equals another one.
[[nodiscard]] std::vector<std::byte> pattern(std::size_t bytes);

}  // namespace wsync::testing
