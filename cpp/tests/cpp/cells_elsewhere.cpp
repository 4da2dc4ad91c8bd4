// The other translation unit of cells.cpp.
#include "cells.hpp"

void count_elsewhere(const Cells& cells, std::uint64_t n) { count(cells, n); }

void observe_elsewhere(const Cells& cells, const Buckets& buckets, double value) { observe(cells, buckets, value); }
