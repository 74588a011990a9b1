#include "model/disjoint.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace wsync {
namespace {

class Prover {
public:
    Prover(std::span<const Box* const> boxes, std::uint64_t& work_budget) : boxes_(boxes), work_budget_(work_budget) {}

    DisjointProof prove() {
        std::vector<std::uint32_t> all(boxes_.size());
        std::iota(all.begin(), all.end(), 0U);
        // Cells still to be proved, each with the dimension to try first and how many have been tried without a cut.
        struct Cell {
            std::span<std::uint32_t> members;
            std::size_t dim;
            std::size_t tried;
        };
        const std::size_t rank = boxes_.empty() ? 0 : boxes_[0]->size.size();
        std::vector<Cell> cells = {{all, 0, 0}};
        while (!cells.empty()) {
            const Cell cell = cells.back();
            cells.pop_back();
            if (cell.members.size() < 2) continue;
            if (!spend(cell.members.size())) return {.overlap = {}, .given_up = true};
            if (cell.tried >= rank) {
                if (auto proof = compare(cell.members); proof.overlap || proof.given_up) return proof;
                continue;
            }
            const std::size_t dim = cell.dim;
            sort_by_begin(cell.members, dim);
            // A clean cut is where everything before has ended: no box crosses it, so the sides can't overlap.
            std::size_t begin = 0;
            std::uint64_t end_so_far = end_of(cell.members[0], dim);
            std::vector<std::span<std::uint32_t>> pieces;
            for (std::size_t i = 1; i < cell.members.size(); ++i) {
                if (boxes_[cell.members[i]]->offset[dim] >= end_so_far) {
                    pieces.push_back(cell.members.subspan(begin, i - begin));
                    begin = i;
                }
                end_so_far = std::max(end_so_far, end_of(cell.members[i], dim));
            }
            const std::size_t next = dim + 1 == rank ? 0 : dim + 1;
            const bool cut = begin != 0;
            pieces.push_back(cell.members.subspan(begin));
            for (auto piece : pieces) cells.push_back({piece, next, cut ? 1 : cell.tried + 1});
        }
        return {};
    }

private:
    [[nodiscard]] bool spend(std::uint64_t work) {
        if (work > work_budget_) return false;
        work_budget_ -= work;
        return true;
    }

    [[nodiscard]] std::uint64_t end_of(std::uint32_t i, std::size_t dim) const { return boxes_[i]->offset[dim] + boxes_[i]->size[dim]; }

    void sort_by_begin(std::span<std::uint32_t> members, std::size_t dim) const {
        auto earlier = [&](std::uint32_t a, std::uint32_t b) { return boxes_[a]->offset[dim] < boxes_[b]->offset[dim]; };
        if (!std::is_sorted(members.begin(), members.end(), earlier)) std::sort(members.begin(), members.end(), earlier);
    }

    // No dimension has a clean cut: a sweep along the first one, each box against those that it meets there.
    DisjointProof compare(std::span<std::uint32_t> members) {
        if (boxes_[members[0]]->size.empty()) return {.overlap = Overlap{members[0], members[1]}, .given_up = false};
        sort_by_begin(members, 0);
        std::vector<std::uint32_t> active;
        for (std::uint32_t member : members) {
            std::erase_if(active, [&](std::uint32_t other) { return end_of(other, 0) <= boxes_[member]->offset[0]; });
            if (!spend(active.size())) return {.overlap = {}, .given_up = true};
            for (std::uint32_t other : active) {
                if (intersect(*boxes_[member], *boxes_[other])) return {.overlap = Overlap{other, member}, .given_up = false};
            }
            active.push_back(member);
        }
        return {};
    }

    std::span<const Box* const> boxes_;
    std::uint64_t& work_budget_;
};

}  // namespace

DisjointProof prove_disjoint(std::span<const Box* const> boxes, std::uint64_t& work_budget) { return Prover(boxes, work_budget).prove(); }

}  // namespace wsync
