#include "wsync/model/manifest.hpp"

wsync::Result<wsync::Manifest> of(std::vector<wsync::TensorSpec> tensors) { return wsync::Manifest::make(std::move(tensors)); }
