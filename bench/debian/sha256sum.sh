# SHA-256 in plain C: rotations and additions on 32-bit words, long straight code.
prepare() { . ./data.sh; }
work() { sha256sum big.txt big.txt; }
