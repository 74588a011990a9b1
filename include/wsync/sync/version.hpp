// A version of the weights; the value lives with the model, since the store below sync knows it too.
#pragma once

#include "wsync/model/version.hpp"
