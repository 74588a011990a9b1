// says: conversion from .*int|no viable conversion|could not convert|no matching
#include "wsync/base/deadline.hpp"

wsync::Deadline soon() { return 30; }
