#include "store/version_manifest.hpp"

#include "format/safetensors_index.hpp"
#include "model/json_check.hpp"
#include "model/records.hpp"
#include "store/version_path.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

namespace wsync {
namespace {

constexpr std::string_view kSchema = "wsync.version/";
constexpr unsigned kMajor = 1, kMinor = 0;
constexpr RecordKind kDigestsKind{"WSVD", 1, 0}, kBoxDigestsKind{"WSVD", 2, 0};
constexpr std::size_t kMaxFiles = 100'000;
using Json = nlohmann::json;

// Records begin with their kind.
bool is_layout(std::span<const std::byte> record) {
    constexpr std::string_view kLayout = "WLAY";
    return record.size() >= kLayout.size() && std::memcmp(record.data(), kLayout.data(), kLayout.size()) == 0;
}

// One object of the document: takes its keys one by one and says which are missing, of a wrong type or unknown.
class Fields {
public:
    Fields(const Json& object, std::string where, bool strict) : object_(object), where_(std::move(where)), strict_(strict) {}

    Result<std::uint64_t> number(const char* key) {
        WSYNC_TRY(const Json* value, take(key));
        if (!value->is_number_unsigned()) return bad(key, "is not a whole number");
        return value->get<std::uint64_t>();
    }
    Result<std::string> text(const char* key, std::size_t max_bytes) {
        WSYNC_TRY(const Json* value, take(key));
        if (!value->is_string()) return bad(key, "is not a string");
        const auto& string = value->get_ref<const std::string&>();
        if (string.size() > max_bytes) return bad(key, fmt::format("has more than {} characters", max_bytes));
        return string;
    }
    Result<Digest> digest(const char* key) {
        WSYNC_TRY(const std::string hex, text(key, 32));
        Digest digest;
        if (hex.size() != 32) return bad(key, "is not 32 hexadecimal digits");
        for (std::size_t i = 0; i < 32; ++i) {
            const char c = hex[i];
            const int nibble = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (nibble < 0) return bad(key, "is not 32 hexadecimal digits");
            digest.bytes[i / 2] = static_cast<std::uint8_t>(digest.bytes[i / 2] << 4 | nibble);
        }
        return digest;
    }
    Result<bool> boolean(const char* key) {
        WSYNC_TRY(const Json* value, take(key));
        if (!value->is_boolean()) return bad(key, "is not true or false");
        return value->get<bool>();
    }
    Result<const Json*> list(const char* key) {
        WSYNC_TRY(const Json* value, take(key));
        if (!value->is_array()) return bad(key, "is not a list");
        if (value->size() > kMaxFiles) return bad(key, fmt::format("has more than {} entries", kMaxFiles));
        return value;
    }
    Status finish() const {
        if (!strict_) return {};
        for (const auto& [key, value] : object_.items()) {
            if (!taken_.contains(key)) return Error{Code::corrupt, fmt::format("{}: unknown key \"{}\"", where_, key.substr(0, 64))};
        }
        return {};
    }

private:
    Result<const Json*> take(const char* key) {
        if (!object_.is_object()) return Error{Code::corrupt, fmt::format("{}: not an object", where_)};
        const auto found = object_.find(key);
        if (found == object_.end()) return bad(key, "is missing");
        taken_.insert(key);
        return &*found;
    }
    Error bad(const char* key, std::string_view what) const { return Error{Code::corrupt, fmt::format("{}: \"{}\" {}", where_, key, what)}; }

    const Json& object_;
    std::string where_;
    bool strict_;
    std::set<std::string> taken_;
};

Result<std::string> file_name(Fields& fields, const std::string& where) {
    WSYNC_TRY(std::string name, fields.text("name", 255));
    if (!is_plain_file_name(name)) return Error{Code::corrupt, fmt::format("{}: a file name that leads out of the directory", where)};
    if (name == kVersionFile) return Error{Code::corrupt, fmt::format("{}: {} lists itself", where, name)};
    return name;
}

// The schema's major and whether unknown keys are a newer minor's.
Result<bool> check_schema(const Json& document, std::string_view what) {
    Fields schema(document, std::string(what), false);
    WSYNC_TRY(const std::string name, schema.text("schema", 64));
    if (!name.starts_with(kSchema)) return Error{Code::corrupt, fmt::format("{}: the schema is \"{}\", not \"{}{}\"", what, name, kSchema, kMajor)};
    if (name.substr(kSchema.size()) != std::to_string(kMajor)) {
        return Error{Code::unsupported, fmt::format("{} is of schema {}; this wsync reads {}{}", what, name, kSchema, kMajor)};
    }
    WSYNC_TRY(const auto minor, schema.number("minor"));
    return minor <= kMinor;
}

}  // namespace

std::string encode(const VersionManifest& manifest) {
    using Ordered = nlohmann::ordered_json;
    Ordered files = Ordered::array(), side_files = Ordered::array();
    for (const WeightsFile& f : manifest.files) files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"header_digest", f.header_digest.hex()}});
    for (const SideFile& f : manifest.side_files) side_files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"digest", f.digest.hex()}});
    const Version& v = manifest.version;
    const Ordered document{
        {"schema", fmt::format("{}{}", kSchema, kMajor)},
        {"minor", kMinor},
        {"name", v.name},
        {"run", v.run},
        {"epoch", v.epoch},
        {"number", v.number},
        {"step", v.step},
        {"parent", v.parent},
        {"digest", v.digest.hex()},
        {"layout_digest", manifest.layout_digest.hex()},
        {"content_digest", manifest.content_digest.hex()},
        {"files", std::move(files)},
        {"side_files", std::move(side_files)},
        {"complete", manifest.complete},
    };
    // Strings were checked where they came in; what is not UTF-8 all the same must not throw.
    return document.dump(2, ' ', false, Ordered::error_handler_t::replace) + "\n";
}

Result<VersionManifest> decode_version_manifest(std::string_view text, std::string_view name) {
    WSYNC_TRY(const Json document, parse_json(text, name, {kMaxVersionFileBytes, 4}));
    WSYNC_TRY(const bool strict, check_schema(document, name));
    const std::string what(name);
    VersionManifest manifest;
    Version& v = manifest.version;
    Fields fields(document, what, strict);
    WSYNC_TRY([[maybe_unused]] const auto schema, fields.text("schema", 64));
    WSYNC_TRY([[maybe_unused]] const auto minor, fields.number("minor"));
    WSYNC_TRY(v.name, fields.text("name", 128));
    WSYNC_TRY(v.run, fields.text("run", 1024));
    WSYNC_TRY(v.epoch, fields.number("epoch"));
    WSYNC_TRY(v.number, fields.number("number"));
    WSYNC_TRY(v.step, fields.number("step"));
    WSYNC_TRY(v.parent, fields.number("parent"));
    WSYNC_TRY(v.digest, fields.digest("digest"));
    WSYNC_TRY(manifest.layout_digest, fields.digest("layout_digest"));
    WSYNC_TRY(manifest.content_digest, fields.digest("content_digest"));
    WSYNC_TRY(const Json* files, fields.list("files"));
    WSYNC_TRY(const Json* side_files, fields.list("side_files"));
    WSYNC_TRY(manifest.complete, fields.boolean("complete"));
    WSYNC_TRY_VOID(fields.finish());
    if (!is_version_name(v.name)) return Error{Code::corrupt, fmt::format("{}: \"name\" is not a name that wsync gives", what)};
    if (!manifest.complete) return Error{Code::corrupt, fmt::format("{} says that the version is not complete", what)};

    std::set<std::string> names;
    for (std::size_t i = 0; i < files->size(); ++i) {
        const std::string where = fmt::format("{}: files[{}]", what, i);
        Fields entry((*files)[i], where, strict);
        WeightsFile file;
        WSYNC_TRY(file.name, file_name(entry, where));
        WSYNC_TRY(file.bytes, entry.number("bytes"));
        WSYNC_TRY(file.header_digest, entry.digest("header_digest"));
        WSYNC_TRY_VOID(entry.finish());
        if (!names.insert(file.name).second) return Error{Code::corrupt, fmt::format("{}: {} is listed twice", where, file.name)};
        manifest.files.push_back(std::move(file));
    }
    for (std::size_t i = 0; i < side_files->size(); ++i) {
        const std::string where = fmt::format("{}: side_files[{}]", what, i);
        Fields entry((*side_files)[i], where, strict);
        SideFile file;
        WSYNC_TRY(file.name, file_name(entry, where));
        WSYNC_TRY(file.bytes, entry.number("bytes"));
        WSYNC_TRY(file.digest, entry.digest("digest"));
        WSYNC_TRY_VOID(entry.finish());
        if (!names.insert(file.name).second) return Error{Code::corrupt, fmt::format("{}: {} is listed twice", where, file.name)};
        manifest.side_files.push_back(std::move(file));
    }
    if (manifest.files.empty()) return Error{Code::corrupt, fmt::format("{}: it lists no file of weights", what)};
    if (std::none_of(manifest.side_files.begin(), manifest.side_files.end(), [](const SideFile& f) { return f.name == kDigestsFile; })) {
        return Error{Code::corrupt, fmt::format("{}: it does not list {}", what, kDigestsFile)};
    }
    return manifest;
}

Result<Bytes> encode_version_tensors(const Layout& boxes) {
    WSYNC_TRY(const auto whole, Layout::replicated(boxes.manifest()));
    return boxes == whole ? encode(boxes.manifest()) : encode(boxes);
}

Result<Layout> decode_version_tensors(std::span<const std::byte> tensors, std::string_view name) {
    const auto where = fmt::format("reading {}", name);
    if (!is_layout(tensors)) {
        WSYNC_TRY(auto manifest, decode_manifest(tensors).within(where));
        auto whole = Layout::replicated(std::move(manifest));
        if (!whole) return Error{Code::corrupt, whole.error().message}.within(where);
        return whole;
    }
    WSYNC_TRY(auto boxes, decode_layout(tensors).within(where));
    if (boxes.ranks() != 1 || boxes.coverage() != Coverage::full) {
        return Error{Code::corrupt, fmt::format("{}: its layout is not one rank's that holds all", name)};
    }
    return boxes;
}

Result<Bytes> encode(const VersionDigests& digests) {
    WSYNC_TRY(const auto tensors, encode_version_tensors(digests.boxes));
    return encode_version_digests(tensors, digests.blocks);
}

Bytes encode_version_digests(std::span<const std::byte> tensors, const BlockDigests& blocks) {
    ByteWriter out;
    out.begin_record(is_layout(tensors) ? kBoxDigestsKind : kDigestsKind).blob(tensors).blob(encode(blocks));
    return out.take();
}

Result<VersionDigestsParts> split_version_digests(std::span<const std::byte> bytes, std::string_view name) {
    ByteReader in(bytes, name);
    VersionDigestsParts parts;
    auto kind = kBoxDigestsKind;
    auto minor = in.begin_record(kind);
    if (!minor && minor.error().code == Code::unsupported) {
        in = ByteReader(bytes, name);
        kind = kDigestsKind;
        auto older = in.begin_record(kind);
        if (older) minor = std::move(older);
    }
    if (!minor) return std::move(minor).error();
    WSYNC_TRY(parts.tensors, in.blob(bytes.size()));
    WSYNC_TRY(parts.blocks, in.blob(bytes.size()));
    if (*minor <= kind.minor) WSYNC_TRY_VOID(in.finish());
    if (is_layout(parts.tensors) != (kind.major == kBoxDigestsKind.major)) {
        return Error{Code::corrupt, fmt::format("{} {}.{} holds its tensors as another version does", name, kind.major, *minor)};
    }
    return parts;
}

Result<VersionDigests> decode_version_digests(std::span<const std::byte> bytes, std::string_view name) {
    WSYNC_TRY(const auto parts, split_version_digests(bytes, name));
    VersionDigests digests;
    WSYNC_TRY(digests.boxes, decode_version_tensors(parts.tensors, name));
    WSYNC_TRY(digests.blocks, decode_block_digests(parts.blocks).within(fmt::format("reading {}", name)));
    return digests;
}

}  // namespace wsync
