#include "format/safetensors.hpp"
#include "format/strict_sax.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <fmt/format.h>
#include <limits>
#include <numeric>

namespace wsync {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::size_t kMaxNameBytes = 1024;

struct Entry {
    TensorSpec spec;
    std::uint64_t begin = 0, end = 0;
};

class HeaderReader final : public StrictSax {
public:
    // An entry takes 60 bytes of text at the least and some 120 in practice.
    explicit HeaderReader(std::size_t header_bytes) { entries_.reserve(header_bytes / 128); }
    [[nodiscard]] std::vector<Entry>& entries() { return entries_; }
    [[nodiscard]] SafetensorsMetadata& metadata() { return metadata_; }

    bool start_object(std::size_t) override {
        switch (at_) {
            case At::begin: at_ = At::names; return true;
            case At::tensor: at_ = At::fields; return true;
            case At::metadata: at_ = At::metadata_keys; return true;
            default: return unexpected("an object");
        }
    }

    bool key(string_t& name) override {
        switch (at_) {
            case At::names: return begin_entry(name);
            case At::fields: return begin_field(name);
            case At::metadata_keys:
                metadata_key_ = std::move(name);
                if (metadata_.count(metadata_key_) != 0) return refuse(fmt::format("the key {} occurs twice in \"__metadata__\"", in_quotes(metadata_key_)));
                at_ = At::metadata_value;
                return true;
            default: return unexpected("a key");
        }
    }

    bool end_object() override {
        switch (at_) {
            case At::fields: {
                const char* missing = (seen_ & kDType) == 0 ? "dtype" : (seen_ & kShape) == 0 ? "shape" : (seen_ & kOffsets) == 0 ? "data_offsets" : nullptr;
                if (missing != nullptr) return refuse(fmt::format("{} has no \"{}\"", tensor(), missing));
                at_ = At::names;
                return true;
            }
            case At::metadata_keys: at_ = At::names; return true;
            case At::names: at_ = At::done; return true;
            default: return unexpected("the end of an object");
        }
    }

    bool start_array(std::size_t) override {
        count_ = 0;
        if (at_ == At::shape) return at_ = At::extents, true;
        if (at_ == At::offsets) return at_ = At::bounds, true;
        return unexpected("a list");
    }

    bool end_array() override {
        if (at_ == At::extents) {
            entries_.back().spec.shape = Dims(std::span(extents_.data(), count_));
        } else if (at_ == At::bounds) {
            if (count_ != 2) return refuse(fmt::format("\"data_offsets\" of {} has {} numbers, not 2", tensor(), count_));
        } else {
            return unexpected("the end of a list");
        }
        at_ = At::fields;
        return true;
    }

    bool string(string_t& text) override {
        if (at_ == At::dtype) {
            auto dtype = dtype_from_name(text);
            if (!dtype.has_value()) return refuse(fmt::format("{}: {}", tensor(), dtype.error().message), dtype.error().code);
            entries_.back().spec.dtype = *dtype;
            at_ = At::fields;
            return true;
        }
        if (at_ == At::metadata_value) {
            metadata_.emplace(std::move(metadata_key_), std::move(text));
            at_ = At::metadata_keys;
            return true;
        }
        return unexpected("a string");
    }

    bool number_unsigned(number_unsigned_t number) override {
        if (at_ == At::extents) {
            if (count_ == kMaxRank) {
                return refuse(fmt::format("{} has more than {} dimensions, which is wsync's limit", tensor(), kMaxRank), Code::unsupported);
            }
            extents_[count_++] = number;
            return true;
        }
        if (at_ == At::bounds) {
            if (count_ == 2) return refuse(fmt::format("\"data_offsets\" of {} has more than 2 numbers", tensor()));
            (count_++ == 0 ? entries_.back().begin : entries_.back().end) = number;
            return true;
        }
        return unexpected("a number");
    }

private:
    enum class At { begin, names, tensor, fields, dtype, shape, extents, offsets, bounds, metadata, metadata_keys, metadata_value, done };
    static constexpr unsigned kDType = 1, kShape = 2, kOffsets = 4;

    [[nodiscard]] std::string tensor() const { return "tensor " + in_quotes(entries_.back().spec.name); }

    [[nodiscard]] std::string where() const override {
        switch (at_) {
            case At::begin: return "place of the header: it must be an object";
            case At::names: return "the header";
            case At::tensor: return fmt::format("place of {}: it must be an object", tensor());
            case At::fields: return tensor();
            case At::dtype: return fmt::format("\"dtype\" of {}: it must be a string", tensor());
            case At::shape:
            case At::extents: return fmt::format("\"shape\" of {}: it must be a list of whole numbers", tensor());
            case At::offsets:
            case At::bounds: return fmt::format("\"data_offsets\" of {}: it must be two whole numbers", tensor());
            case At::metadata: return "place of \"__metadata__\": it must be an object";
            case At::metadata_keys: return "\"__metadata__\"";
            case At::metadata_value: return fmt::format("\"__metadata__\" at {}: it must be a string", in_quotes(metadata_key_));
            case At::done: break;
        }
        return "the space behind the header";
    }

    bool begin_entry(string_t& name) {
        if (name == kMetadataKey) {
            if (metadata_seen_) return refuse("\"__metadata__\" occurs twice");
            metadata_seen_ = true;
            at_ = At::metadata;
            return true;
        }
        // Names are checked as they come, so that no message needs to show a monster.
        if (name.empty()) return refuse("a tensor has an empty name, which wsync can't address", Code::unsupported);
        if (name.size() > kMaxNameBytes) {
            return refuse(fmt::format("the name {} has {} bytes, wsync's limit is {}", in_quotes(name, 32), name.size(), kMaxNameBytes), Code::unsupported);
        }
        if (name.find('\0') != string_t::npos) return refuse(fmt::format("the name {} holds a NUL", in_quotes(name)), Code::unsupported);
        entries_.emplace_back().spec.name = name;
        seen_ = 0;
        at_ = At::tensor;
        return true;
    }

    bool begin_field(const string_t& name) {
        unsigned field = 0;
        if (name == "dtype") {
            field = kDType;
            at_ = At::dtype;
        } else if (name == "shape") {
            field = kShape;
            at_ = At::shape;
        } else if (name == "data_offsets") {
            field = kOffsets;
            at_ = At::offsets;
        } else {
            return refuse(fmt::format("{} has the unknown field {}", tensor(), in_quotes(name)));
        }
        if ((seen_ & field) != 0) return refuse(fmt::format("{} has \"{}\" twice", tensor(), name));
        seen_ |= field;
        return true;
    }

    At at_ = At::begin;
    std::vector<Entry> entries_;
    SafetensorsMetadata metadata_;
    std::string metadata_key_;
    bool metadata_seen_ = false;
    unsigned seen_ = 0;      // fields of the tensor that is being read
    std::size_t count_ = 0;  // numbers of the list that is being read
    std::array<std::uint64_t, kMaxRank> extents_{};
};

Error corrupt(std::string_view file_name, std::string message) { return Error{Code::corrupt, fmt::format("{}: {}", file_name, message)}; }

// The proofs that need all tensors: sizes, no holes, no overlap, the end.
Result<SafetensorsHeader> arrange(HeaderReader& reader, std::uint64_t header_bytes, std::uint64_t file_size, std::string_view file_name) {
    SafetensorsHeader header;
    header.metadata = std::move(reader.metadata());
    header.header_bytes = header_bytes;
    header.data_bytes = file_size - header_bytes;
    std::vector<Entry>& entries = reader.entries();

    std::vector<std::uint32_t> order(entries.size());
    std::iota(order.begin(), order.end(), 0U);
    auto before = [&](std::uint32_t a, std::uint32_t b) {
        return entries[a].begin != entries[b].begin ? entries[a].begin < entries[b].begin : entries[a].end < entries[b].end;
    };
    // Stable: empty tensors at one offset keep the header's order.
    if (!std::is_sorted(order.begin(), order.end(), before)) std::stable_sort(order.begin(), order.end(), before);

    std::vector<TensorSpec> tensors;
    tensors.reserve(entries.size());
    header.begins.reserve(entries.size());
    std::uint64_t expected = 0;
    for (std::uint32_t i : order) {
        Entry& entry = entries[i];
        if (entry.end < entry.begin) {
            return corrupt(file_name, fmt::format("tensor {} ends at {}, before it begins at {}", in_quotes(entry.spec.name), entry.end, entry.begin));
        }
        if (entry.begin != expected) {
            return corrupt(file_name, fmt::format("tensor {} begins at offset {} of the data, the one before it ends at {}: {}", in_quotes(entry.spec.name),
                                                  entry.begin, expected, entry.begin < expected ? "they overlap" : "there is a hole"));
        }
        if (entry.end > header.data_bytes) {
            return corrupt(file_name, fmt::format("tensor {} ends at offset {} of the data, of which the file has {} bytes: it is truncated",
                                                  in_quotes(entry.spec.name), entry.end, header.data_bytes));
        }
        expected = entry.end;
        header.begins.push_back(entry.begin);
        tensors.push_back(std::move(entry.spec));
    }
    if (expected != header.data_bytes) {
        return corrupt(file_name, fmt::format("{} bytes behind the last tensor belong to none", header.data_bytes - expected));
    }
    auto manifest = Manifest::make(std::move(tensors));
    if (!manifest.has_value()) return corrupt(file_name, manifest.error().message);
    header.manifest = *std::move(manifest);
    for (std::size_t t = 0; t < header.manifest.size(); ++t) {
        const std::uint64_t held = (t + 1 < header.begins.size() ? header.begins[t + 1] : header.data_bytes) - header.begins[t];
        const TensorSpec& tensor = header.manifest[t];
        if (held != tensor.bytes()) {
            return corrupt(file_name, fmt::format("tensor {} has {} bytes of data, its shape {} of {} needs {}", in_quotes(tensor.name), held,
                                                  tensor.shape.to_string(), name_of(tensor.dtype), tensor.bytes()));
        }
    }
    return header;
}

}  // namespace

Result<std::uint64_t> safetensors_header_bytes(std::span<const std::byte> first8, std::uint64_t file_size, std::string_view file_name) {
    if (first8.size() < kSafetensorsLengthBytes || file_size < kSafetensorsLengthBytes) {
        return corrupt(file_name, fmt::format("it has {} bytes, a safetensors file begins with 8 for the length of its header",
                                              std::min<std::uint64_t>(first8.size(), file_size)));
    }
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < kSafetensorsLengthBytes; ++i) length |= std::to_integer<std::uint64_t>(first8[i]) << (8 * i);
    if (length > kMaxSafetensorsHeaderBytes) {
        return corrupt(file_name, fmt::format("a header of {} bytes is beyond the format's limit of {}", length, kMaxSafetensorsHeaderBytes));
    }
    if (length < 2) return corrupt(file_name, fmt::format("a header of {} bytes is no JSON object", length));
    if (length > file_size - kSafetensorsLengthBytes) {
        return corrupt(file_name, fmt::format("the header says it has {} bytes, the file has {} after its length: it is truncated", length,
                                              file_size - kSafetensorsLengthBytes));
    }
    return kSafetensorsLengthBytes + length;
}

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> header, std::uint64_t file_size, std::string_view file_name) {
    WSYNC_TRY(const std::uint64_t header_bytes, safetensors_header_bytes(header, file_size, file_name));
    if (header.size() != header_bytes) {
        return Error{Code::invalid_argument, fmt::format("{}: {} bytes of header were given, it has {}", file_name, header.size(), header_bytes)};
    }
    const std::string_view text(reinterpret_cast<const char*>(header.data()) + kSafetensorsLengthBytes, header_bytes - kSafetensorsLengthBytes);
    if (text[0] != '{') return corrupt(file_name, "the header does not begin with '{'");
    // The library takes a NUL for the end of the text.
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) return corrupt(file_name, fmt::format("a NUL at byte {} of the header", nul));
    try {
        HeaderReader reader(text.size());
        if (!nlohmann::json::sax_parse(text.data(), text.data() + text.size(), &reader)) {
            Error error = reader.complaint();
            error.message = fmt::format("{}: {}", file_name, error.message);
            return error;
        }
        return arrange(reader, header_bytes, file_size, file_name);
    } catch (const std::exception& failure) {
        return Error{Code::resource_exhausted, fmt::format("{}: reading its header: {}", file_name, failure.what())};
    }
}

}  // namespace wsync
