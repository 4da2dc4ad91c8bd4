#!/bin/sh
# Runs a program with a directory of its own, in which the root registry is, too: in_directory.sh PROGRAM
directory=$(mktemp -d /dev/shm/dyn-metrics-XXXXXX)
trap 'rm -rf "$directory"' EXIT
DYN_METRICS_SHM=$directory/root "$1" "$directory"
