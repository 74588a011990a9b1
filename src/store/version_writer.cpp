#include "store/version_writer.hpp"

#include "store/retention.hpp"
#include "store/writing.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

Result<WrittenVersion> write_all(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content, const WritePlan& plan) {
    Writing writing(files, options, plan);
    WSYNC_TRY_VOID(writing.make_directories());
    WSYNC_TRY_VOID(writing.refuse_existing());
    const auto leftovers = !options.recycle ? Leftovers::remove : options.new_files ? Leftovers::leave : Leftovers::use_one;
    WSYNC_TRY(const auto workspace, open_workspace(files, writing.directory(), {options.version.epoch, options.version.number}, leftovers,
                                                   [&](const std::string& name) { return writing.wants(name); }));
    auto result = [&]() -> Result<WrittenVersion> {
        WSYNC_TRY_VOID(writing.make_files(workspace.path));
        WSYNC_TRY(const auto digests, writing.write_weights(workspace.path, content));
        WrittenVersion written;
        WSYNC_TRY(written.manifest, writing.write_rest(workspace.path, options.version, digests));
        WSYNC_TRY_VOID(writing.rename_into_place(workspace.path));
        written.path = writing.path();
        written.recycled = workspace.recycled;
        for (const WeightsFile& f : written.manifest.files) written.bytes += f.bytes;
        for (const SideFile& f : written.manifest.side_files) written.bytes += f.bytes;
        return written;
    }();
    if (!result) {
        // Best effort: what stays, the next writer finds. Never after the rename: the path is another then.
        [[maybe_unused]] const Status cleaned = remove_tree(files, workspace.path);
        return result;
    }
    auto notes = retire_versions(files, writing.directory(), options.keep, options.recycle);
    if (notes) {
        result->notes = *std::move(notes);
    } else {
        result->notes.push_back(fmt::format("old versions were not removed: {}", notes.error().to_string()));
    }
    return result;
}

}  // namespace

VersionWriter::VersionWriter(FileSystem& files) : files_(&files) {}
VersionWriter::~VersionWriter() = default;
VersionWriter::VersionWriter(VersionWriter&&) noexcept = default;
VersionWriter& VersionWriter::operator=(VersionWriter&&) noexcept = default;

Result<WrittenVersion> VersionWriter::write(const WriteVersionOptions& options, const VersionContent& content) {
    const auto write = [&]() -> Result<WrittenVersion> {
        WSYNC_TRY_VOID(check_version_options(options));
        WSYNC_TRY_VOID(check_version_content(content));
        if (content.layout->ranks() != 1) {
            return Error{Code::unsupported, fmt::format("the layout has {} ranks: each writes its part (GroupVersionWriter)", content.layout->ranks())};
        }
        if (!fits(plan_.get(), *content.layout, 0, *content.placement, options.metadata, options.shard_bytes)) {
            WSYNC_TRY(plan_, make_write_plan(*content.layout, 0, *content.placement, options.metadata, options.shard_bytes));
        }
        if (content.expected != nullptr) WSYNC_TRY_VOID(check(*content.expected, *content.layout, 0));
        return write_all(*files_, options, content, *plan_);
    };
    return write().within(fmt::format("writing version {}.{} of {}", options.version.epoch, options.version.number, options.version.name));
}

Result<WrittenVersion> write_version(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content) {
    return VersionWriter(files).write(options, content);
}

}  // namespace wsync
