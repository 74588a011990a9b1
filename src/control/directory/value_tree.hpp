// The values of a control folder as files: values/SEGMENT/.../LAST,value.
//
// ',' is in no key, so that a key and a directory of the same name never meet.
#pragma once

#include "control/directory/folder.hpp"
#include "control/directory/records.hpp"

#include <map>

namespace wsync {

struct StoredValue {
    ValueRecord record;
    FileSignature signature;
};
using StoredValues = std::map<std::string, StoredValue, std::less<>>;

[[nodiscard]] std::string value_path(std::string_view key);
// Nothing when it isn't there. Error{corrupt} names the path.
[[nodiscard]] Result<std::optional<ValueRecord>> read_value(const Folder& folder, std::string_view key);

struct ScanOptions {
    // Values whose file still has the signature that it has here are not read again.
    const StoredValues* known = nullptr;
    // Called with each directory, whole path, before it is listed; also with those above the prefix that there are.
    std::function<void(const std::string&)> on_directory;
};
// All values under the prefix, by key, those of ended leases too. Names that no control wrote are passed over.
[[nodiscard]] Result<StoredValues> scan_values(const Folder& folder, std::string_view prefix, const ScanOptions& options = {});

}  // namespace wsync
