// Everything that a trainer or an engine needs.
#pragma once

#include "wsync/model/catalogue.hpp"
#include "wsync/model/mesh.hpp"
#include "wsync/plan/plan.hpp"
#include "wsync/session/session.hpp"
