#!/usr/bin/env bash
# Makes libdyn_metrics.so from the archive: link.sh ARCHIVE OUTPUT_DIRECTORY [LINKER ARGUMENTS]
#
# nodelete: the library has restartable sequences, whose descriptors the kernel may read as long as the threads live,
# and memory that handles point to; dlclose() must not unmap it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
archive=$1 out=$2
shift 2
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -1)
mkdir -p "$out"
${CC:-cc} -shared -o "$out/libdyn_metrics.so.$version" \
    -Wl,-soname,libdyn_metrics.so.0 -Wl,--version-script="$here/libdyn_metrics.map" -Wl,--no-undefined \
    -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now -Wl,--gc-sections "$@" \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lgcc_s -lpthread -ldl -lm -lc
ln -sf "libdyn_metrics.so.$version" "$out/libdyn_metrics.so.0"
ln -sf libdyn_metrics.so.0 "$out/libdyn_metrics.so"
