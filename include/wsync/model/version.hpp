// A version of the weights: what a publication gives, a receiver serves and a directory holds. A plain value.
#pragma once

#include "wsync/base/digest.hpp"

#include <cstdint>
#include <string>

namespace wsync {

struct Version {
    std::string name;             // of the weights: "policy"
    std::string run;              // of the publisher: its job's id
    std::uint64_t epoch = 0;      // grows each time a publisher opens the name
    std::uint64_t number = 0;     // grows by one with each publication of an epoch, from 1
    std::uint64_t step = 0;       // the trainer's, as it said
    std::uint64_t parent = 0;     // the number before it in the epoch; 0: none
    Digest digest{};              // of the layout and every block

    // "policy@1.4+1f2e3d4c"
    [[nodiscard]] std::string label() const {
        return name + "@" + std::to_string(epoch) + "." + std::to_string(number) + "+" + digest.short_hex();
    }
    // Newer epochs come first, whatever their step.
    [[nodiscard]] bool newer_than(const Version& other) const {
        return epoch != other.epoch ? epoch > other.epoch : number > other.number;
    }
    friend bool operator==(const Version&, const Version&) = default;
};

}  // namespace wsync
