#!/bin/sh
# Runs one program of the benchmark: `run.sh NAME`. What NAME.sh's `prepare` does is not measured;
# what its `work` prints is compared between the machines.
cd "${0%/*}" || exit 1
prepare() { :; }
. "./$1.sh"
prepare >/dev/null 2>&1
echo "<begin $1>"
work 2>&1
echo "<end $1>"
