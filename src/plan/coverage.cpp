#include "plan/coverage.hpp"

#include <vector>

namespace wsync {
namespace {

// Beyond this a message that names the whole box is good enough.
constexpr std::size_t kMaxParts = 1 << 14;

// What is left of `box` without `cut`, appended to `out`: at most two slabs for each dimension.
void subtract(Box box, const Box& cut, std::vector<Box>& out) {
    const auto common = intersect(box, cut);
    if (!common) {
        out.push_back(box);
        return;
    }
    for (std::size_t d = 0; d < box.offset.size(); ++d) {
        const std::uint64_t low = box.offset[d], high = low + box.size[d];
        const std::uint64_t cut_low = common->offset[d], cut_high = cut_low + common->size[d];
        if (low < cut_low) {
            Box before = box;
            before.size[d] = cut_low - low;
            out.push_back(before);
        }
        if (cut_high < high) {
            Box after = box;
            after.offset[d] = cut_high;
            after.size[d] = high - cut_high;
            out.push_back(after);
        }
        box.offset[d] = cut_low;
        box.size[d] = cut_high - cut_low;
    }
}

}  // namespace

std::optional<Box> find_gap(const Box& whole, std::span<const Box> parts) {
    if (whole.empty() || parts.size() > kMaxParts) return std::nullopt;
    std::vector<Box> left{whole}, next;
    for (const Box& part : parts) {
        next.clear();
        for (const Box& box : left) subtract(box, part, next);
        left.swap(next);
        if (left.empty()) return std::nullopt;
    }
    return left.front();
}

}  // namespace wsync
