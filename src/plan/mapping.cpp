#include "plan/mapping.hpp"

#include "model/disjoint.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

namespace wsync {
namespace {

// Pairs of boxes of one mapping that are compared where no clean cut separates them: tenths of a second.
constexpr std::uint64_t kPairBudget = 20'000'000;

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }
Error not_found(std::string message) { return Error{Code::not_found, std::move(message), {}}; }

Status check_same_type(const TensorSpec& source, const TensorSpec& sink) {
    if (source.dtype == sink.dtype) return {};
    return bad(fmt::format("tensor \"{}\" is {} at the sink, \"{}\" is {} at the source: a plan moves values and never changes them, cast first",
                           sink.name, name_of(sink.dtype), source.name, name_of(source.dtype)));
}

Result<std::vector<MappedPart>> by_name(const Manifest& source, const Manifest& sink) {
    std::vector<MappedPart> parts;
    parts.reserve(sink.size());
    for (std::uint32_t t = 0; t < sink.size(); ++t) {
        const TensorSpec& wanted = sink[t];
        const auto found = source.find(wanted.name);
        if (!found) {
            return not_found(fmt::format("the source has no tensor \"{}\", which the sink wants: map it to another or to a fill", wanted.name));
        }
        const TensorSpec& held = source[*found];
        WSYNC_TRY_VOID(check_same_type(held, wanted));
        if (held.shape != wanted.shape) {
            return bad(fmt::format("tensor \"{}\" has shape {} at the sink and {} at the source: map its boxes", wanted.name,
                                   wanted.shape.to_string(), held.shape.to_string()));
        }
        parts.push_back({t, *found, false, {}, Box::whole(wanted.shape), Box::whole(held.shape)});
    }
    return parts;
}

Status check_box(const TensorSpec& tensor, const Box& box, std::string_view side) {
    if (!box.inside(tensor.shape)) {
        return bad(fmt::format("the mapping's {} box {} is not inside tensor \"{}\" of shape {}", side, box.to_string(), tensor.name,
                               tensor.shape.to_string()));
    }
    if (!cut_on_bytes(box, tensor.shape, tensor.dtype)) {
        return bad(fmt::format("the mapping's {} box {} cuts tensor \"{}\" ({} bits an element) inside a byte: cut it on whole bytes", side,
                               box.to_string(), tensor.name, bits_of(tensor.dtype)));
    }
    return {};
}

Result<MappedPart> resolve(const Manifest& source, const Manifest& sink, const MappedBox& box) {
    MappedPart part;
    const auto sink_tensor = sink.find(box.sink);
    if (!sink_tensor) return not_found(fmt::format("the mapping fills tensor \"{}\", which the sink does not have", box.sink));
    part.sink_tensor = *sink_tensor;
    part.sink_box = box.sink_box;
    WSYNC_TRY_VOID(check_box(sink[*sink_tensor], box.sink_box, "sink"));
    if (box.source.empty()) {
        part.fill = true;
        part.value = box.value;
        return part;
    }
    const auto source_tensor = source.find(box.source);
    if (!source_tensor) {
        return not_found(fmt::format("the mapping takes tensor \"{}\" from \"{}\", which the source does not have", box.sink, box.source));
    }
    part.source_tensor = *source_tensor;
    part.source_box = box.source_box;
    WSYNC_TRY_VOID(check_same_type(source[*source_tensor], sink[*sink_tensor]));
    WSYNC_TRY_VOID(check_box(source[*source_tensor], box.source_box, "source"));
    if (box.source_box.size != box.sink_box.size) {
        return bad(fmt::format("the mapping puts box {} of \"{}\" into box {} of \"{}\": their sizes differ", box.source_box.to_string(),
                               box.source, box.sink_box.to_string(), box.sink));
    }
    return part;
}

bool in_order(const MappedPart& a, const MappedPart& b) {
    if (a.sink_tensor != b.sink_tensor) return a.sink_tensor < b.sink_tensor;
    return std::lexicographical_compare(a.sink_box.offset.begin(), a.sink_box.offset.end(), b.sink_box.offset.begin(), b.sink_box.offset.end());
}

}  // namespace

Result<ResolvedMapping> ResolvedMapping::make(const Manifest& source, const Manifest& sink, const Mapping& mapping) {
    ResolvedMapping resolved;
    if (mapping.boxes.empty()) {
        WSYNC_TRY(resolved.parts_, by_name(source, sink));
    } else {
        resolved.parts_.reserve(mapping.boxes.size());
        for (const MappedBox& box : mapping.boxes) {
            WSYNC_TRY(auto part, resolve(source, sink, box));
            if (!part.sink_box.empty()) resolved.parts_.push_back(part);
        }
        std::stable_sort(resolved.parts_.begin(), resolved.parts_.end(), in_order);
    }
    resolved.first_.assign(sink.size() + 1, 0);
    for (const MappedPart& part : resolved.parts_) ++resolved.first_[part.sink_tensor + 1];
    std::partial_sum(resolved.first_.begin(), resolved.first_.end(), resolved.first_.begin());

    std::uint64_t budget = kPairBudget;
    std::vector<const Box*> boxes;
    for (std::uint32_t t = 0; t < sink.size(); ++t) {
        const auto parts = resolved.parts_of(t);
        if (parts.size() < 2) continue;
        boxes.clear();
        for (const MappedPart& part : parts) boxes.push_back(&part.sink_box);
        const DisjointProof proof = prove_disjoint(boxes, budget);
        if (proof.overlap) {
            return bad(fmt::format("the mapping writes tensor \"{}\" twice: sink boxes {} and {} overlap", sink[t].name,
                                   boxes[proof.overlap->first]->to_string(), boxes[proof.overlap->second]->to_string()));
        }
        if (proof.given_up) {
            return Error{Code::unsupported,
                         fmt::format("the mapping's boxes of tensor \"{}\" are too entangled to be proved disjoint: cut them along whole dimensions",
                                     sink[t].name),
                         {}};
        }
    }
    return resolved;
}

}  // namespace wsync
